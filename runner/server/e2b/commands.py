"""Commands of a sandbox: started, listened to by any number of clients, ended by their pid."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from runner.errors import RequestError
from runner.server.live.session_table import Held
from sandbox import AsyncCommand, ExecFinished, ExecResult, SandboxError, Stderr, Stdout

LISTENED_MOST = 64
"""Events that wait for a client; then the command waits for it too."""
COMMANDS_MOST = 64
Event = dict[str, object]
OnEnd = Callable[[ExecResult], None]


class Started(NamedTuple):
    """What a command was started as."""

    cmd: str
    args: tuple[str, ...]
    envs: Mapping[str, str]
    cwd: str
    tag: str | None
    has_stdin: bool

    def json(self, pid: int) -> Event:
        """Return the command as it is listed."""
        config = {
            "cmd": self.cmd,
            "args": list(self.args),
            "envs": dict(self.envs),
            "cwd": self.cwd,
        }
        tag = {} if self.tag is None else {"tag": self.tag}
        return {"config": config, "pid": pid, **tag}


class Running:
    """A command that runs, and those that listen to it."""

    def __init__(self, command: AsyncCommand, started: Started, held: Held, on_end: OnEnd) -> None:
        self.command = command
        self.started = started
        self._held = held
        self._on_end = on_end
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self.task: asyncio.Task[None] | None = None

    def listen(self) -> "asyncio.Queue[Event | None]":
        """A queue of what happens from now on; None when the sandbox is gone."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(LISTENED_MOST)
        self._listeners.add(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[Event | None]") -> None:
        """Listen no more; the command goes on."""
        self._listeners.discard(queue)
        with suppress(asyncio.QueueEmpty):
            while True:
                queue.get_nowait()  # The pump, should it wait for room there, goes on.

    async def pump(self) -> None:
        """Hand on what it writes, and its end."""
        self._held.running += 1
        try:
            while (event := await self.command.read_event()) is not None:
                if isinstance(event, ExecFinished):
                    self._on_end(event.result)
                    await self._tell({"end": end_json(event.result)})
                elif isinstance(event, Stdout | Stderr):
                    stream = "stdout" if isinstance(event, Stdout) else "stderr"
                    text = base64.b64encode(event.data).decode()
                    await self._tell({"data": {stream: text}})
            await self._tell(None)
        finally:
            self._held.running -= 1
            self._held.active_at = time.monotonic()

    async def _tell(self, event: Event | None) -> None:
        for queue in list(self._listeners):
            await queue.put(event)


class Commands:
    """The commands of one sandbox that run."""

    def __init__(self) -> None:
        self._all: dict[int, Running] = {}

    def list(self) -> list[Event]:
        """All that run, as they are told."""
        return [one.started.json(pid) for pid, one in self._all.items()]

    async def start(
        self, started: Started, held: Held, cwd: str, *, timeout_s: float, on_end: OnEnd
    ) -> tuple[Running, "asyncio.Queue[Event | None]"]:
        """Start a command in `cwd`, and listen to it from its first byte. Raises RequestError."""
        if len(self._all) >= COMMANDS_MOST:
            raise RequestError("conflict", f"A sandbox may run {COMMANDS_MOST} commands at once.")
        # A shell believes the name that it is told, where that leads to the same place.
        envs = {"PWD": started.cwd, **started.envs}
        command = await held.session.popen(
            [started.cmd, *started.args], cwd=cwd, env=envs, timeout_s=timeout_s
        )
        running = Running(command, started, held, on_end)
        queue = running.listen()
        if not started.has_stdin:
            command.close_stdin()
        try:
            pid = await _pid_of(command)
        except BaseException:
            command.kill()
            raise
        self._all[pid] = running
        running.task = asyncio.create_task(running.pump())
        running.task.add_done_callback(lambda _task: self._all.pop(pid, None))
        return running, queue

    def find(self, selector: object) -> Running:
        """The command of that pid or tag. Raises RequestError."""
        wanted = selector if isinstance(selector, dict) else {}
        pid, tag = wanted.get("pid"), wanted.get("tag")
        for own, running in self._all.items():
            if own == pid or (tag is not None and running.started.tag == tag):
                return running
        shown = str(pid if tag is None else tag)[:100]
        raise RequestError("not_found", f"process with pid or tag {shown} not found")


async def _pid_of(command: AsyncCommand) -> int:
    """Its pid, once it has one. Raises RequestError when it never started."""
    while not command.pid:
        if not command.is_running:
            with suppress(SandboxError):
                result = await command.wait()
                raise RequestError("invalid", f"It did not start: {result.stderr.decode()[:1000]}")
            raise RequestError("invalid", "It did not start.")
        await asyncio.sleep(0.001)
    return command.pid


def end_json(result: ExecResult) -> Event:
    """How a command ended, in E2B's words."""
    # One that went over a limit and ended before it was killed did not end well either.
    if result.exit_code is not None and (result.exit_code or not result.limit):
        status = f"exit status {result.exit_code}"
        error = {"error": status} if result.exit_code else {}
        return {"exitCode": result.exit_code, "exited": True, "status": status, **error}
    status = f"signal: {result.signal or 'unknown'}"
    why = f"ended by a limit of the server: {result.limit}" if result.limit else status
    return {"exitCode": -1, "exited": False, "status": status, "error": why}


async def events_of(
    queue: "asyncio.Queue[Event | None]", *, ping_s: float, ends_at: float | None
) -> AsyncGenerator[Event, None]:
    """Events of a command until its end, with signs of life in silence.

    Raises TimeoutError at `ends_at`, ConnectionError when the sandbox is gone.
    """
    while True:
        left_s = ping_s if ends_at is None else min(ping_s, ends_at - time.monotonic())
        try:
            async with asyncio.timeout(max(left_s, 0)):
                event = await queue.get()
        except TimeoutError:
            if ends_at is not None and time.monotonic() >= ends_at:
                raise
            event = {"keepalive": {}}
        if event is None:
            raise ConnectionError
        yield event
        if "end" in event:
            return
