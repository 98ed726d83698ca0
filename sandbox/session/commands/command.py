"""One command of a session: its streams, its time, its end. See `guest/boot/commands`."""

import asyncio
import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from sandbox import events
from sandbox.cancellation import Wait
from sandbox.errors import PolicyError, SandboxError
from sandbox.outcome import ExecResult, Truncated, Usage
from sandbox.policy.arguments import (
    as_bytes,
    check_number,
    check_type,
    signal_name,
    signal_number,
    texts,
)
from sandbox.processes.worker import Worker
from sandbox.protocol.messages import CommandEnded
from sandbox.session.runs.output import HeadTailBuffer, StreamDecoder

READ_BYTES = 1 << 16
LISTEN_AFTER_S = 0.008
EVENTS_HELD = 64
"""Chunks that wait for a reader; then the pipes are left alone, and the program waits."""
ARGUMENTS_CAP = 4096
VARIABLES_CAP = 500
PATH_CAP = 4096
IN_ALL_CAP = 4 * 1024 * 1024
ARGUMENT_CAP_BYTES = 128 * 1024
"""What the kernel takes in one argument: MAX_ARG_STRLEN of execve(2)."""
SHELL = ("/bin/sh", "-c")
COMMAND_RIGHT = "Give a program and its arguments as a list of str, or a line for the shell"
WRITTEN_HELD_BYTES = 16 * 1024 * 1024
MICRO = 1_000_000

CommandEvent = events.Stdout | events.Stderr | events.ExecFinished


class CommandRequest(NamedTuple):
    """What is to be started, checked."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    timeout_s: float
    kept_bytes: int
    output_bytes: int
    is_streamed: bool

    @classmethod
    def of(
        cls,
        command: str | Sequence[str],
        *,
        cwd: str | None,
        env: Mapping[str, str] | None,
        timeout_s: float,
        kept_bytes: int,
        output_bytes: int,
        is_streamed: bool,
    ) -> "CommandRequest":
        """The request, a text as one for the shell. Raises PolicyError."""
        words = [*SHELL, command] if isinstance(command, str) else command
        argv = tuple(texts("command", words, COMMAND_RIGHT))
        if not argv or not argv[0]:
            raise PolicyError("command", "names no program", "Name a program first")
        if env is not None:
            check_type("env", env, Mapping, 'Give texts by name, as in env={"A": "1"}')
        if cwd is not None:
            check_type("cwd", cwd, str, "Give a path as a str")
        check_number("timeout_s", timeout_s, "Give seconds")
        variables = dict(env or {})
        for where, text in (
            *(("command", word) for word in argv),
            *(("env", word) for pair in variables.items() for word in pair),
            ("cwd", cwd or ""),
        ):
            if not isinstance(text, str):
                raise PolicyError(where, f"has {text!r}", "Give texts alone")
            try:
                size = len(os.fsencode(text))
            except UnicodeEncodeError:
                remedy = "Give text that UTF-8 can hold"
                raise PolicyError(where, "has half a surrogate pair", remedy) from None
            if "\0" in text or size > ARGUMENT_CAP_BYTES:
                raise PolicyError(
                    where,
                    "has a NUL character or a part that is too long",
                    f"At most {ARGUMENT_CAP_BYTES} bytes; put more into a file or stdin",
                )
        _check_room(argv, variables, cwd or "")
        for name in variables:
            if not name or "=" in name:
                raise PolicyError("env", f"{name!r} is no name of a variable")
        if not timeout_s > 0:
            raise PolicyError("timeout_s", f"is {timeout_s}", "It must be more than 0")
        return cls(argv, cwd or "", variables, timeout_s, kept_bytes, output_bytes, is_streamed)


def _check_room(argv: Sequence[str], variables: Mapping[str, str], cwd: str) -> None:
    """Raise PolicyError for more than the message to init holds; the kernel takes less yet."""
    size = sum(map(len, argv)) + sum(len(name) + len(variables[name]) for name in variables)
    for where, count, cap, unit in (
        ("command", len(argv), ARGUMENTS_CAP, "words"),
        ("env", len(variables), VARIABLES_CAP, "variables"),
        ("cwd", len(cwd), PATH_CAP, "characters"),
        ("command", size, IN_ALL_CAP, "characters with its variables"),
    ):
        if count > cap:
            remedy = f"Give at most {cap}; put more into a file or stdin"
            raise PolicyError(where, f"has {count} {unit}", remedy)


class AsyncCommand:
    """A program beside the interpreter. Made by `AsyncSession.popen`.

    It ends with its session, and goes on when a snippet is killed or rolled back. A child that it
    left behind and that has no parent in the session any more ends with the next rollback.
    """

    def __init__(
        self,
        worker: Worker,
        request: CommandRequest,
        *,
        on_end: Callable[[], None],
        loss: Callable[[], SandboxError | None],
    ) -> None:
        """`on_end` is called once when it has ended; `loss` says what became of its session."""
        self._worker = worker
        self._on_end = on_end
        self._loss = loss
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        stdin, self._stdin = os.pipe()
        self._reads, writes = zip(*(os.pipe() for _ in range(2)), strict=True)
        for fd in (self._stdin, *self._reads):
            os.set_blocking(fd, False)
        self._kept = [HeadTailBuffer(request.kept_bytes) for _ in self._reads]
        self._decoders = [StreamDecoder() for _ in self._reads]
        self._open = set(self._reads)
        self._unwritten = bytearray()
        self._closes_stdin = False
        self._events: deque[CommandEvent] = deque()
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._result: asyncio.Future[ExecResult] = self._loop.create_future()
        self._limit: Literal["", "wall_s", "output_bytes"] = ""
        self._is_told = False
        """Whether its last event is among those that can be read."""
        self._command = worker.commands.start(
            request.argv, cwd=request.cwd, env=request.env, streams=(stdin, writes[0], writes[1])
        )
        self._listens = False
        if request.is_streamed:
            self._listen()
        self._late = self._loop.call_later(LISTEN_AFTER_S, self._listen)
        self._timer = self._loop.call_later(request.timeout_s, self._exceed, "wall_s")
        self._command.ended.add_done_callback(self._on_ended)

    @property
    def pid(self) -> int:
        """Its pid in the session's namespace; 0 until it was started."""
        return self._command.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._result.done()

    async def write(self, data: bytes | str) -> None:
        """Write to its standard input; waits while much of it has not been read yet."""
        if self._stdin < 0 or self._closes_stdin:
            raise BrokenPipeError("the command's standard input is closed")
        self._unwritten += as_bytes("stdin", data)
        self._flush()
        while len(self._unwritten) > WRITTEN_HELD_BYTES and self._stdin >= 0:
            self._drained.clear()
            await self._drained.wait()

    def close_stdin(self) -> None:
        """Let it read the end of its standard input, after what was written."""
        self._closes_stdin = True
        self._flush()

    async def read_event(self) -> CommandEvent | None:
        """What it writes next, or its end; None after that."""
        while not self._events:
            if self._result.done() and self._is_told:
                return None
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        if len(self._events) < EVENTS_HELD // 2:
            for index, fd in enumerate(self._reads):
                if fd in self._open:
                    self._loop.add_reader(fd, self._on_output, index)
        return event

    def kill(self, signal: str | int = "SIGKILL", *, tree: bool = True) -> None:
        """Send it a signal, and with `tree` all that descends from it. Returns at once."""
        number = signal_number(signal)
        self._worker.commands.signal(self._command, number, tree=tree)

    async def wait(self) -> ExecResult:
        """Wait for its end. A caller that is cancelled leaves it running."""
        return await Wait(self._result)

    async def kill_and_wait(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        with contextlib.suppress(SandboxError):
            await self.wait()

    # ---- streams --------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Read what it writes as it comes; what a short one has written is read at its end."""
        if not self._listens:
            self._listens = True
            for index, fd in enumerate(self._reads):
                if fd in self._open:
                    self._loop.add_reader(fd, self._on_output, index)

    def _on_output(self, index: int) -> None:
        fd = self._reads[index]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_output(index)
            return
        self._kept[index].add(data)
        if self._request.is_streamed:
            text = self._decoders[index].feed(data).text
            kind = events.Stderr if index else events.Stdout
            self._tell(kind(text, data))
            if len(self._events) >= EVENTS_HELD:
                for each in self._open:
                    self._loop.remove_reader(each)
        if sum(kept.total for kept in self._kept) > self._request.output_bytes:
            self._exceed("output_bytes")

    def _close_output(self, index: int) -> None:
        fd = self._reads[index]
        if fd in self._open:
            self._open.discard(fd)
            if self._listens:
                self._loop.remove_reader(fd)
            os.close(fd)

    def _tell(self, event: CommandEvent) -> None:
        self._events.append(event)
        self._changed.set()

    def _flush(self) -> None:
        if self._stdin < 0:
            return
        try:
            while self._unwritten:
                written = os.write(self._stdin, self._unwritten[:READ_BYTES])
                del self._unwritten[:written]
        except BlockingIOError:
            self._loop.add_writer(self._stdin, self._flush)
            return
        except BrokenPipeError:
            self._unwritten.clear()
            self._closes_stdin = True
        self._loop.remove_writer(self._stdin)
        self._drained.set()
        if self._closes_stdin:
            os.close(self._stdin)
            self._stdin = -1

    # ---- the end --------------------------------------------------------------------------------

    def _exceed(self, limit: Literal["wall_s", "output_bytes"]) -> None:
        if not self._limit:
            self._limit = limit
            self.kill()

    def _on_ended(self, told: "asyncio.Future[CommandEnded]") -> None:
        error = told.exception()
        if error is not None:
            self._close()
            self._result.set_exception(self._loss() or error)
            self._result.exception()  # A command that is not waited for is no error.
            self._is_told = True
            self._changed.set()
            return
        ended = told.result()
        # What it wrote is in the pipes by now; a child may hold them open for longer.
        for index, fd in enumerate(self._reads):
            while fd in self._open and not self._is_empty(fd):
                self._on_output(index)
        self._close()
        result = self._result_of(ended.status, ended.user_us, ended.system_us, ended.peak_kib)
        self._result.set_result(result)
        if self._request.is_streamed:
            self._tell(events.ExecFinished(result))
        self._is_told = True
        self._changed.set()

    def _is_empty(self, fd: int) -> bool:
        """Whether there is nothing to be read from `fd`, not even its end."""
        poll = select.poll()  # Not `select`, which refuses descriptors from 1024 on.
        poll.register(fd, select.POLLIN)
        return not poll.poll(0)

    def _close(self) -> None:
        self._on_end()
        self._timer.cancel()
        self._late.cancel()
        for index in range(len(self._reads)):
            self._close_output(index)
        self._unwritten.clear()
        self.close_stdin()

    def _result_of(self, status: int, user_us: int, system_us: int, peak_kib: int) -> ExecResult:
        was_killed = os.WIFSIGNALED(status)
        stdout, stderr = self._kept
        return ExecResult(
            exit_code=None if was_killed else os.WEXITSTATUS(status),
            signal=signal_name(os.WTERMSIG(status)) if was_killed else None,
            timed_out=self._limit == "wall_s",
            limit=self._limit or None,
            stdout=stdout.raw(),
            stderr=stderr.raw(),
            truncated=Truncated(stdout=stdout.cut, stderr=stderr.cut),
            usage=Usage(
                wall_s=time.monotonic() - self._began,
                cpu_user_s=user_us / MICRO,
                cpu_system_s=system_us / MICRO,
                peak_memory_bytes=peak_kib * 1024,
            ),
        )
