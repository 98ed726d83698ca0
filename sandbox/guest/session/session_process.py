"""The session process: a message in, a snippet run, messages out. Hostile once a snippet ran.

One process is the session at a time. Before a snippet it forks a *standby*: a copy that waits on
a channel of its own with the variables as they are now. The process that runs the snippet is
always the original, so its pid, threads and children stay what they were; the standby is used
only if the original dies, and goes away when the supervisor closes its channel.

The standby is a grandchild whose parent has exited, so init adopts it. As a child it would make
`os.wait()` in a snippet wait for it.

The module is longer than others: all that the session process answers is one subject.
"""

import contextlib
import ctypes
import errno
import os
import random
import socket
import sys
import tempfile
import threading

# What `signal.signal` calls; its enumerations would touch forty pages more in each session.
from _signal import SIGINT  # type: ignore[import-not-found]
from _signal import signal as set_handler
from types import FrameType
from typing import NoReturn

from sandbox.guest.branching import branch
from sandbox.guest.display import streams
from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.guest.language import check, imports
from sandbox.guest.session import atfork, chmod_shim
from sandbox.guest.session.snippet import Ending, SnippetRunner
from sandbox.protocol.frames import FrameError
from sandbox.protocol.messages import (
    NO_PROCESS,
    TO_GUEST_CAP_BYTES,
    Check,
    Checked,
    CopyReady,
    CopyResult,
    Denied,
    Display,
    Done,
    EnterNamespaces,
    ForkCopy,
    Measure,
    Measured,
    MessageError,
    Run,
    Warm,
    copy_ready_frame,
    pack,
)
from sandbox.protocol.plan import JailPlan

_first_interpreter = ctypes.pythonapi.PyInterpreterState_Head
_first_interpreter.restype = ctypes.c_void_p
_next_interpreter = ctypes.pythonapi.PyInterpreterState_Next
_next_interpreter.argtypes = [ctypes.c_void_p]
_next_interpreter.restype = ctypes.c_void_p
REHEARSALS = 20
"""CPython 3.11 adapts a function to what it does from about its tenth call on."""
REHEARSED = "1"
NO_DESCRIPTOR_LEFT = "the session has as many open files as it may have"
HAS_TAKEN, HAS_ANSWERED, HAS_ENDED = b"t", b"a", b"e"
"""What a entrant tells the session process: where it is with the host's questions."""
TOLD_BYTES = 1 << 16
"""What a pipe holds; two words a branch."""
SESSION_PROCESS_FAILED = 70
"""EX_SOFTWARE of sysexits.h."""


def serve(session: "SessionProcess", guest_fd: int) -> NoReturn:
    """Be the session process until the supervisor closes the channel."""
    try:
        session.start(guest_fd)
        session.serve()
    finally:
        # An error of this process itself must not unwind into the zygote's frames and tell the
        # guest about them; the supervisor sees the exit status.
        os._exit(SESSION_PROCESS_FAILED)


class SessionProcess:
    """What the session process knows between snippets.

    The zygote makes it once, and each session starts its copy: what is made before the fork is
    made once and shared, what is made after it touches pages that must then be copied.
    """

    _channel: GuestChannel

    def __init__(self, plan: JailPlan) -> None:
        self._plan = plan
        self._nonce = ""
        self._is_running = False
        self._is_sending = False
        self._is_interrupted = False
        self._is_dormant = False
        """Whether this is a copy that nothing has been asked of yet."""
        self._sending = threading.Lock()
        self._main_thread = threading.get_ident()
        self._has_stdin = False
        self._pid = 0
        streams.replace()
        self.snippets = SnippetRunner(language=plan.language, emit=self._emit)
        imports.install(plan.import_rules, plan.import_default, self._report)

    def rehearse(self) -> None:
        """Do what every session does a few times: the interpreter then has adapted its code.

        It adapts code by writing into it, and fills caches. What is done here is shared by all
        sessions; each of them would copy the pages that it writes.
        """
        host_end, guest_end = socket.socketpair()
        host = GuestChannel(host_end.detach(), "from_guest", TO_GUEST_CAP_BYTES)
        self._channel = GuestChannel(guest_end.detach(), "to_guest", TO_GUEST_CAP_BYTES)
        self._pid = os.getpid()
        for _ in range(REHEARSALS):
            host.send(Run("", 0, REHEARSED, None, False))
            message = self._channel.receive()
            assert isinstance(message, Run)
            self._run(message)
            host.receive()
        host.close()
        self._channel.close()
        self.snippets.forget(0)

    def _warm(self) -> None:
        """Touch what a snippet touches, so that the first one finds its pages copied already."""
        message = Run("", 0, REHEARSED, None, False)
        pack(_done(message.nonce, self.snippets.run(message.code, message.number), ""))
        self.snippets.forget(0)

    def start(self, guest_fd: int) -> None:
        """Begin a session in this process, heard on `guest_fd`."""
        self._channel = GuestChannel(guest_fd, "to_guest", TO_GUEST_CAP_BYTES)
        self._pid = os.getpid()
        atfork.run_fork_hooks()
        _forget_temporary_directory()
        _reseed()
        set_handler(SIGINT, self._on_interrupt)
        if self._plan.tier == "landlock" and not self._plan.has_own_ids:
            chmod_shim.forgive(os.path.dirname(os.environ["TMPDIR"]))

    def serve(self) -> NoReturn:
        """Answer messages in order. Ends the process when the channel ends or is broken."""
        while True:
            try:
                message = self._channel.receive()
            except (ChannelClosed, FrameError, MessageError, ConnectionError):
                os._exit(0)
            if self._is_dormant and not isinstance(message, Measure):
                self._wake()
            if isinstance(message, Run):
                self._run(message)
            elif isinstance(message, Check):
                self._check(message)
            elif isinstance(message, ForkCopy):
                self._copy(message)
            elif isinstance(message, EnterNamespaces):
                self._enter_namespaces(message)
            elif isinstance(message, Measure):
                self._channel.send(Measured(message.nonce, _private_bytes()))
            elif isinstance(message, Warm):
                self._warm()

    def _run(self, message: Run) -> None:
        self._nonce = message.nonce
        in_place = ""
        if message.survive:
            in_place, is_copy = self._try_to_copy()
            if is_copy:
                return  # The standby, on its own channel: it is for `serve` to go on.
        self._feed_stdin(message.stdin)
        self._is_running = True
        try:
            ending = self.snippets.run(message.code, message.number)
        finally:
            self._is_running = False
        self._leave_if_forked()
        streams.flush()
        self._channel.send(_done(message.nonce, ending, in_place))

    def _copy(self, message: ForkCopy) -> None:
        refusal, is_copy = self._try_to_copy()
        if is_copy:
            return  # The copy, on its own channel: it is for `serve` to go on.
        self._channel.send(CopyResult(message.nonce, refusal))

    def _try_to_copy(self) -> tuple[str, bool]:
        """Why there is no copy, empty if there is one; and whether this process is the copy."""
        try:
            fd = self._channel.take_descriptors(1)[0]
        except ValueError:
            # The kernel drops descriptors that come to a process at its limit (unix(7)).
            return NO_DESCRIPTOR_LEFT, False
        refusal = _what_cannot_be_copied()
        if refusal:
            _say_why_no_copy(fd, refusal)
            return refusal, False
        try:
            return "", self._fork_copy(fd)
        except OSError as error:
            return f"{NO_PROCESS} ({error.strerror})", False

    def _enter_namespaces(self, message: EnterNamespaces) -> None:
        """Fork a entrant for the branches to come, and wait for its end; see `branch`."""
        if not message.namespaces:
            self._channel.send(CopyResult(message.nonce, ""))
            return
        try:
            taken = self._take_for(message)
        except ValueError:
            self._channel.drop_descriptors()
            self._channel.send(CopyResult(message.nonce, NO_DESCRIPTOR_LEFT))
            return
        self.snippets.loop.let_go()
        own = {self._channel.fileno(), *taken}
        refusal = _what_cannot_be_copied() or branch.what_stays_shared(own)
        if not refusal:
            try:
                if self._fork_entrant(message, taken):
                    return  # The session process of a branch, on its own channel.
            except OSError as error:
                refusal = f"{NO_PROCESS} ({error.strerror})"
        for fd in taken:
            os.close(fd)
        self.snippets.loop.take_up()
        if refusal:
            self._channel.send(CopyResult(message.nonce, refusal))

    def _take_for(self, message: EnterNamespaces) -> list[int]:
        return self._channel.take_descriptors(3 + message.namespaces + message.cgroups)

    def _fork_entrant(self, message: EnterNamespaces, taken: list[int]) -> bool:
        """Fork a entrant; False when it has ended, True in the session process of a branch.

        While it travels it is the one who hears the host, and tells here how far it has come:
        a question that it took and has not answered is answered in its place.
        """
        told, tell = os.pipe()
        os.write(tell, HAS_TAKEN)
        try:
            entrant = sysapi.fork()
        except OSError:
            for end in (told, tell):
                os.close(end)
            raise
        if entrant == 0:
            os.close(told)
            self._be_entrant(message, taken, tell)
            os.close(tell)
            self._become_branch(*taken[:3])
            return True
        with contextlib.suppress(ChildProcessError):
            os.waitpid(entrant, 0)
        # The end of the process is what counts: others may have kept the pipe open.
        last_word = os.read(told, TOLD_BYTES)[-1:]
        os.close(told)
        os.close(tell)
        if last_word != HAS_ANSWERED:
            refusal = "" if last_word == HAS_ENDED else "the process that was to branch it ended"
            self._channel.send(CopyResult("", refusal))
        return False

    def _be_entrant(self, message: EnterNamespaces, taken: list[int], tell: int) -> None:
        """In the entrant: fork into one branch after the other. Returns in each, as a copy.

        A question without namespaces ends the entrant, when those whom it forked have ended.
        """
        while True:
            refusal = ""
            try:
                branch.enter_namespaces(
                    taken[3 : 3 + message.namespaces], taken[3 + message.namespaces :]
                )
            except OSError:
                refusal = "it could not enter the namespaces of the branch"
            else:
                refusal, is_copy = self._fork_into_branch(taken[0])
                if is_copy:
                    return
            for fd in taken[:3]:
                os.close(fd)
            self._channel.send(CopyResult(message.nonce, refusal))
            os.write(tell, HAS_ANSWERED)
            following = self._channel.receive()
            os.write(tell, HAS_TAKEN)
            if not isinstance(following, EnterNamespaces) or not following.namespaces:
                branch.await_children()
                os.write(tell, HAS_ENDED)
                os._exit(0)
            message, taken = following, self._take_for(following)

    def _fork_into_branch(self, channel_fd: int) -> tuple[str, bool]:
        """Why there is no copy in the branch, if so; and whether this process is the copy.

        Its parent exits. That must have lived in the branch too: the origin's init would adopt a
        grandchild of anybody else.
        """
        try:
            if sysapi.fork():
                return "", False
        except OSError as error:
            return f"{NO_PROCESS} ({error.strerror})", False
        try:
            if sysapi.fork():
                os._exit(0)
        except OSError as error:
            _say_why_no_copy(channel_fd, f"{NO_PROCESS} ({error.strerror})")
            os._exit(1)
        return "", True

    def _become_branch(self, channel_fd: int, stdout_fd: int, stderr_fd: int) -> None:
        """Be the session process of a branch, on a channel and streams of its own."""
        branch.drop_privileges()
        channel = GuestChannel(channel_fd, "to_guest", TO_GUEST_CAP_BYTES)
        channel.send(CopyReady(os.getpid()))
        os.dup2(stdout_fd, 1)
        os.dup2(stderr_fd, 2)
        os.close(stdout_fd)
        os.close(stderr_fd)
        self._has_stdin = True  # Whatever is there now, the origin has it too.
        self._feed_stdin(None)
        self.snippets.loop.take_up()
        self._go_on_as_copy(channel)

    def _fork_copy(self, fd: int) -> bool:
        """Fork a copy that waits on channel `fd`. True in the copy, False in the original.

        Raises OSError if no process could be made for it.
        """
        try:
            middle = sysapi.fork()
        except OSError:
            os.close(fd)
            raise
        if middle:
            os.close(fd)
            _pid, status = os.waitpid(middle, 0)
            if status:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return False
        _announce_copy(fd)
        self._go_on_as_copy(GuestChannel(fd, "to_guest", TO_GUEST_CAP_BYTES))
        return True

    def _go_on_as_copy(self, channel: GuestChannel) -> None:
        self._is_dormant = True
        self._channel.close()
        self._channel = channel
        self._pid = os.getpid()

    def _wake(self) -> None:
        """Do what modules want done in a forked child, in a copy that is about to be of use.

        Most copies end without that, and would pay for each page that it touches: 250 of them.
        """
        self._is_dormant = False
        # `random` reseeds itself in a forked child; this copy is the session as it was.
        chance = random.getstate()
        sysapi.run_fork_hooks()
        atfork.name_main_thread()
        random.setstate(chance)

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
            source = _nameless_file()
            with open(source, "wb", closefd=False) as stream:
                stream.write(stdin.encode("utf-8", "surrogatepass"))
            os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, 0)
        os.close(source)
        streams.replace_stdin()
        self._has_stdin = stdin is not None

    def _emit(
        self, bundle: dict[str, str], metadata: dict[str, str | int | float | bool | None]
    ) -> None:
        self._say(Display(self._nonce, bundle, metadata))

    def _report(self, action: str, tried: str, rule: str, hint: str) -> None:
        self._say(Denied(self._nonce, "import_policy", tried, f"{rule} -> {action}", hint))

    def _say(self, message: Display | Denied) -> None:
        """Send what the running snippet has to show; any of its threads may.

        After its end, and in children that it forked, there is nobody to show it to. An interrupt
        waits until the frame is out whole: half a frame would end the session.
        """
        if not self._is_running or os.getpid() != self._pid:
            return
        with self._sending:
            self._is_sending = threading.get_ident() == self._main_thread
            try:
                self._channel.send(message)
            finally:
                self._is_sending = False
        if self._is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt

    def _leave_if_forked(self) -> None:
        """End a child that the snippet forked and that ran off the end of the snippet."""
        if os.getpid() != self._pid:
            streams.flush()
            os._exit(0)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # An interrupt that arrives late must not hit the worker's own code.
        if self._is_sending:
            self._is_interrupted = True
        elif self._is_running:
            raise KeyboardInterrupt


def _say_why_no_copy(fd: int, refusal: str) -> None:
    """Tell who waits for a copy on channel `fd` that none comes; a killed snippet cannot say it."""
    channel = GuestChannel(fd, "to_guest", TO_GUEST_CAP_BYTES)
    with contextlib.suppress(ConnectionError):
        channel.send(CopyResult("", refusal))
    channel.close()


def _announce_copy(fd: int) -> None:
    """Fork and return in the child, the copy; the parent says so on channel `fd` and exits.

    The parent is waited for: a snippet that dies at once finds the copy announced, however late
    the copy itself gets to run. So it does as little as can be, on pages that it need not copy.
    """
    try:
        copy = sysapi.fork()
        if copy:
            os.write(fd, copy_ready_frame(copy))
    except OSError:
        os._exit(1)
    if copy:
        os._exit(0)


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
    if _has_other_interpreters():
        return "the session has live sub-interpreters"
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ""
    return "the session has a child process of its own"


def _has_other_interpreters() -> bool:
    """Whether this process has more than its main interpreter, whoever made them.

    A fork made here would wait for ever for locks of theirs. Source: the C API, where interpreter
    states are a list.
    """
    return bool(_next_interpreter(_first_interpreter()))


def _private_bytes() -> int:
    """Memory that this process shares with no other. Source: smaps_rollup in proc(5)."""
    private = 0
    with open("/proc/self/smaps_rollup") as stream:
        for line in stream:
            if line.startswith("Private_"):
                private += int(line.split()[1]) * 1024
    return private


def _nameless_file() -> int:
    """A fresh file to write and read; in memory, or where that is refused, among those of /tmp."""
    try:
        return os.memfd_create("stdin")
    except OSError:
        with tempfile.TemporaryFile() as stream:
            return os.dup(stream.fileno())


def _forget_temporary_directory() -> None:
    """A package that was imported in the zygote may have looked up the zygote's own."""
    tempfile.tempdir = None


def _reseed() -> None:
    """Make sources of chance differ between sessions that one zygote forked.

    `atfork` sees to `random`; numpy's global generator does not reseed itself after a fork.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "little"))
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        vars(uuid)["_last_timestamp"] = None
