"""The session process: a message in, a snippet run, messages out. Hostile once a snippet ran.

One process is the session at a time. Before a snippet it forks a *keeper*: a copy that waits on
a channel of its own with the variables as they are now. The process that runs the snippet is
always the original, so its pid, threads and children stay what they were; the keeper is used
only if the original dies, and goes away when the supervisor closes its channel.

The keeper is a grandchild whose parent has exited, so init adopts it. As a child it would make
`os.wait()` in a snippet wait for it.
"""

import contextlib
import io
import os
import random
import signal
import sys
from types import FrameType
from typing import NoReturn

from sandbox.guest import branch, check, imports
from sandbox.guest.channel import Channel, ChannelClosed
from sandbox.guest.snippet import Ending, SnippetRunner
from sandbox.protocol.frames import FrameError
from sandbox.protocol.messages import (
    TO_GUEST_CAP_BYTES,
    Check,
    Checked,
    Copied,
    Denied,
    Depart,
    Display,
    Done,
    Measure,
    Measured,
    MessageError,
    Park,
    Parked,
    Run,
)
from sandbox.protocol.plan import JailPlan

TEXT_BUFFER_BYTES = 1 << 16
Chance = tuple[object, ...]
"""State of `random`."""
WORKER_FAILED = 70
"""EX_SOFTWARE of sysexits.h."""


def serve(plan: JailPlan, guest_fd: int, workspace: str) -> NoReturn:
    """Be the session process until the supervisor closes the channel."""
    try:
        Worker(plan, guest_fd, workspace).serve()
    finally:
        # An error of the worker itself must not unwind into the zygote's frames and tell the
        # guest about them; the supervisor sees the exit status.
        os._exit(WORKER_FAILED)


class Worker:
    """What the session process knows between snippets."""

    def __init__(self, plan: JailPlan, guest_fd: int, workspace: str) -> None:
        self._plan = plan
        self._channel = Channel(guest_fd, "to_guest", TO_GUEST_CAP_BYTES)
        self._nonce = ""
        self._is_running = False
        self._has_stdin = False
        self._pid = os.getpid()
        _replace_standard_streams()
        _reseed()
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._snippets = SnippetRunner(language=plan.language, emit=self._emit)
        imports.install(plan.import_rules, plan.import_default, self._report)

    def serve(self) -> NoReturn:
        """Answer messages in order. Ends the process when the channel ends or is broken."""
        while True:
            try:
                message = self._channel.receive()
            except (ChannelClosed, FrameError, MessageError, ConnectionError):
                os._exit(0)
            if isinstance(message, Run):
                self._run(message)
            elif isinstance(message, Check):
                self._check(message)
            elif isinstance(message, Park):
                self._copy(message)
            elif isinstance(message, Depart):
                self._depart(message)
            elif isinstance(message, Measure):
                self._channel.send(Measured(message.nonce, _private_bytes()))

    def _run(self, message: Run) -> None:
        self._nonce = message.nonce
        in_place = ""
        if message.survive:
            fd = self._channel.take_descriptors(1)[0]
            in_place = _what_cannot_be_copied()
            if in_place:
                os.close(fd)
            elif self._park(fd):
                return  # The keeper, on its own channel: it is for `serve` to go on.
        self._feed_stdin(message.stdin)
        self._is_running = True
        try:
            ending = self._snippets.run(message.code, message.number)
        finally:
            self._is_running = False
        self._leave_if_forked()
        _flush_standard_streams()
        self._channel.send(_done(message.nonce, ending, in_place))

    def _copy(self, message: Park) -> None:
        fd = self._channel.take_descriptors(1)[0]
        refusal = _what_cannot_be_copied()
        if refusal:
            os.close(fd)
        elif self._park(fd):
            return  # The copy, on its own channel: it is for `serve` to go on.
        self._channel.send(Copied(message.nonce, refusal))

    def _depart(self, message: Depart) -> None:
        """Fork a copy that goes on as a branch; see `branch` for how it gets there."""
        taken = self._channel.take_descriptors(3 + message.namespaces + message.cgroups)
        namespaces = taken[3 : 3 + message.namespaces]
        cgroups = taken[3 + message.namespaces :]
        refusal = _what_cannot_be_copied() or branch.what_stays_shared(
            {self._channel.fileno(), *taken}
        )
        if not refusal:
            chance = random.getstate()
            traveller = os.fork()
            if traveller == 0:
                self._travel(taken[:3], namespaces, cgroups, chance)
                return  # The branch's session process, on its own channel.
            _pid, status = os.waitpid(traveller, 0)
            if status:
                refusal = "it could not enter the namespaces of the branch"
        for fd in taken:
            os.close(fd)
        self._channel.send(Copied(message.nonce, refusal))

    def _travel(
        self, streams: list[int], namespaces: list[int], cgroups: list[int], chance: Chance
    ) -> None:
        """Return in the grandchild, which lives in the branch; parents of it exit."""
        try:
            branch.travel(namespaces, cgroups)
            middle = os.fork()
        except OSError:
            os._exit(1)
        if middle:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]))
        if os.fork():
            os._exit(0)
        branch.settle()
        channel_fd, stdout_fd, stderr_fd = streams
        os.dup2(stdout_fd, 1)
        os.dup2(stderr_fd, 2)
        os.close(stdout_fd)
        os.close(stderr_fd)
        random.setstate(chance)
        self._go_on_as_copy(channel_fd)

    def _park(self, fd: int) -> bool:
        """Fork a copy that waits on channel `fd`. True in the copy, False in the original."""
        chance = random.getstate()
        middle = os.fork()
        if middle:
            os.close(fd)
            os.waitpid(middle, 0)
            return False
        if os.fork():
            os._exit(0)
        # `random` reseeds itself in a forked child; this copy is the session as it was.
        random.setstate(chance)
        self._go_on_as_copy(fd)
        return True

    def _go_on_as_copy(self, fd: int) -> None:
        self._channel.close()
        self._channel = Channel(fd, "to_guest", TO_GUEST_CAP_BYTES)
        self._pid = os.getpid()
        try:
            self._channel.send(Parked(self._pid))
        except ConnectionError:
            os._exit(0)  # The snippet is over already, and this copy with it.

    def _check(self, message: Check) -> None:
        plan = self._plan
        found = check.check(message.code, plan.import_rules, plan.import_default, plan.language)
        self._channel.send(
            Checked(message.nonce, found.imports, found.refusals, found.syntax_error)
        )

    def _feed_stdin(self, stdin: str | None) -> None:
        """Make descriptor 0 and `sys.stdin` read `stdin`, or nothing."""
        if stdin is None:
            if not self._has_stdin:
                return
            source = os.open("/dev/null", os.O_RDONLY)
        else:
            source = os.memfd_create("stdin")
            with open(source, "wb", closefd=False) as stream:
                stream.write(stdin.encode("utf-8", "surrogatepass"))
            os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, 0)
        os.close(source)
        _replace_stdin()
        self._has_stdin = stdin is not None

    def _emit(
        self, bundle: dict[str, str], metadata: dict[str, str | int | float | bool | None]
    ) -> None:
        self._channel.send(Display(self._nonce, bundle, metadata))

    def _report(self, action: str, tried: str, rule: str, hint: str) -> None:
        self._channel.send(Denied(self._nonce, "import_policy", tried, f"{rule} -> {action}", hint))

    def _leave_if_forked(self) -> None:
        """End a child that the snippet forked and that ran off the end of the snippet."""
        if os.getpid() != self._pid:
            _flush_standard_streams()
            os._exit(0)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # An interrupt that arrives late must not hit the worker's own code.
        if self._is_running:
            raise KeyboardInterrupt


def _done(nonce: str, ending: Ending, in_place: str) -> Done:
    return Done(
        nonce=nonce,
        ended=ending.ended,
        text=ending.text,
        error_type=ending.error_type,
        error_message=ending.error_message,
        error_traceback=ending.error_traceback,
        error_errno=ending.error_errno,
        refused_line=ending.refused_line,
        in_place=in_place,
        names=ending.names,
    )


def _what_cannot_be_copied() -> str:
    """Why a fork of this process would not be faithful; empty if it would."""
    # Threads of native pools have no Python frame, and re-create themselves after a fork.
    if len(sys._current_frames()) > 1:
        return "the session has live Python threads"
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ""
    return "the session has a child process of its own"


def _private_bytes() -> int:
    """Memory that this process shares with no other. Source: smaps_rollup in proc(5)."""
    private = 0
    with open("/proc/self/smaps_rollup") as stream:
        for line in stream:
            if line.startswith("Private_"):
                private += int(line.split()[1]) * 1024
    return private


def _replace_standard_streams() -> None:
    """Fresh Python streams on descriptors 0 to 2; the zygote's may hold buffered text."""
    _replace_stdin()
    for name, fd in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(fd, "w", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw, TEXT_BUFFER_BYTES),
            encoding="utf-8",
            errors="backslashreplace" if fd == 2 else "surrogateescape",
            line_buffering=True,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _replace_stdin() -> None:
    stream = io.TextIOWrapper(
        io.FileIO(0, closefd=False), encoding="utf-8", errors="surrogateescape"
    )
    for name in ("stdin", "__stdin__"):
        setattr(sys, name, stream)


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        # The snippet may have put any object there; what its flush does is its own affair.
        with contextlib.suppress(Exception):
            if stream is not None:
                stream.flush()


def _reseed() -> None:
    """Make sources of chance differ between sessions that one zygote forked.

    `random` reseeds itself after a fork; numpy's global generator does not.
    """
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "little"))
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        vars(uuid)["_last_timestamp"] = None
