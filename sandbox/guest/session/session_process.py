"""Runs the session process: a message in, a snippet run, messages out. Hostile once a snippet ran.

One process is the session at a time. Before a snippet it forks a *standby*: a copy that waits on
a channel of its own with the variables as they are now. The process that runs the snippet is
always the original, so its pid, threads and children stay what they were; the standby is used
only if the original dies, and goes away when the host closes its channel (see `copies`).
"""

import os
import random
import sys
import threading

# What `signal.signal` calls; its enumerations would touch forty pages more in each session.
from _signal import SIGINT  # type: ignore[import-not-found]
from _signal import signal as set_handler
from types import FrameType
from typing import NoReturn

from sandbox.guest.branching import branch, own_objects
from sandbox.guest.display import streams
from sandbox.guest.exchange import host_tools, queries
from sandbox.guest.exchange.trace import Trace
from sandbox.guest.kernel.guest_channel import ChannelClosed, GuestChannel
from sandbox.guest.language import check, imports
from sandbox.guest.language.attempts import line_of
from sandbox.guest.language.audited_events import Tried
from sandbox.guest.notebook import forms
from sandbox.guest.session import (
    atfork,
    calls,
    chmod_shim,
    copies,
    entrant,
    interpreter,
)
from sandbox.guest.session.snippet import Ending, SnippetRunner
from sandbox.guest.survival import child_pools
from sandbox.protocol.frames import FrameError
from sandbox.protocol.messages import (
    NO_PROCESS,
    TEXT_CAP,
    TO_GUEST_CAP_BYTES,
    Answered,
    Attempted,
    Call,
    Check,
    Checked,
    ClearDisplays,
    CopyReady,
    CopyResult,
    Denied,
    Display,
    Done,
    EnterNamespaces,
    ForkCopy,
    Measure,
    Measured,
    Message,
    MessageError,
    Query,
    Run,
    ToolCall,
    Warm,
    completed_frame,
    pack,
)
from sandbox.protocol.plan import JailPlan

REHEARSED = "1"
NO_DESCRIPTOR_LEFT = "the session has as many open files as it may have"
SESSION_PROCESS_FAILED = 70
"""EX_SOFTWARE of sysexits.h."""


def serve(session: "SessionProcess", channel: GuestChannel) -> NoReturn:
    """Be the session process until the host closes the channel."""
    try:
        session.start(channel)
        session.serve()
    finally:
        # An error of this process itself must not unwind into the zygote's frames and show them to
        # the guest; the host sees the exit status.
        os._exit(SESSION_PROCESS_FAILED)


class SessionProcess:
    """Holds what the session process knows between snippets.

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
        if plan.tier == "namespaces":
            interpreter.UsualNames().install()
        streams.replace()
        self.snippets = SnippetRunner(
            language=plan.language,
            screen=self,
            notebook=plan.notebook,
            keeps_going=plan.keep_going,
        )
        self._tools = host_tools.HostTools(self)
        self._trace = Trace(plan, self) if plan.trace else None
        observe = self._trace.attempts.note_import if self._trace is not None else None
        imports.install(plan.import_rules, plan.import_default, self._report, observe=observe)
        if self._trace is not None:
            self._trace.attempts.install()

    def _warm(self) -> None:
        """Touch what a snippet touches, so that the first one finds its pages copied already."""
        pack(_done("", self.snippets.run(REHEARSED, 0), ""))
        self.snippets.forget(0)
        streams.flush()

    def start(self, channel: GuestChannel) -> None:
        """Begin a session in this process, heard on `channel`."""
        self._channel = channel
        self._pid = os.getpid()
        atfork.run_fork_hooks()
        atfork.renew()
        set_handler(SIGINT, self._on_interrupt)
        self.snippets.enter(os.getcwd())
        interpreter.find_session_modules(self._plan)
        if self._trace is not None:
            self._trace.enter()
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
            elif isinstance(message, Call):
                self._call(message)
            elif isinstance(message, Check):
                self._channel.send(_checked(self._plan, message))
            elif isinstance(message, ForkCopy):
                self._copy(message)
            elif isinstance(message, EnterNamespaces):
                self._enter_namespaces(message)
            elif isinstance(message, Measure):
                self._channel.send(Measured(message.nonce, copies.private_bytes()))
            elif isinstance(message, Warm):
                self._warm()
            elif isinstance(message, Query):
                self._answer(message)
            # And nothing for a ToolAnswer, whose snippet has ended.

    def _run(self, message: Run) -> None:
        self._nonce = message.nonce
        in_place = ""
        if message.survive:
            in_place, is_copy = self._try_to_copy()
            if is_copy:
                return  # The standby, on its own channel: it is for `serve` to go on.
        self._feed_stdin(message.stdin)
        self._tools.offer(message.tools, self.snippets.namespace)
        if self._trace is not None:
            self._trace.begin()
        self._is_running = True
        try:
            ending = self.snippets.run(message.code, message.number, message.script)
        finally:
            self._is_running = False
        self._leave_if_forked()
        streams.flush()
        self._tell_trace()
        if message.survive:
            copies.reap()  # The standby before may have ended after this one was made.
            in_place = in_place or copies.later_obstacle()
        self._channel.send(_done(message.nonce, ending, in_place, *self.snippets.clock.take()))

    def _call(self, message: Call) -> None:
        self._nonce = message.nonce
        if self._trace is not None:
            self._trace.begin()
        self._is_running = True
        try:
            raised = calls.call(message.function, message.argument)
        finally:
            self._is_running = False
        self._leave_if_forked()
        streams.flush()
        self._tell_trace()
        if raised is None:
            self._channel.send_frame(completed_frame(message.nonce))
        else:
            self._channel.send(_done(message.nonce, Ending("raised", [], None, *raised), ""))

    def _tell_trace(self) -> None:
        if self._trace is not None:
            for told in self._trace.end(self._nonce):
                self._channel.send(told)

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
        refusal = copies.obstacle()
        if refusal:
            copies.report_refusal(fd, refusal)
            return refusal, False
        try:
            is_copy = copies.fork_copy(fd)
        except OSError as error:
            copies.resume()
            return f"{NO_PROCESS} ({error.strerror})", False
        if is_copy:
            self._go_on_as_copy(GuestChannel(fd, "to_guest", TO_GUEST_CAP_BYTES))
        else:
            copies.resume()
        return "", is_copy

    def _enter_namespaces(self, message: EnterNamespaces) -> None:
        """Fork an entrant for the branches to come, and wait for its end; see `branch`."""
        if not message.namespaces:
            self._channel.send(CopyResult(message.nonce, ""))
            return
        try:
            fds = entrant.take_descriptors(self._channel, message)
        except ValueError:
            self._channel.drop_descriptors()
            self._channel.send(CopyResult(message.nonce, NO_DESCRIPTOR_LEFT))
            return
        self.snippets.loop.let_go()
        own = {self._channel.fileno(), *fds.all}
        refusal, shared = _branchable(own)
        if shared is not None:
            try:
                branch_fds = entrant.fork_into_branches(self._channel, message, fds)
            except OSError as error:
                refusal = f"{NO_PROCESS} ({error.strerror})"
            else:
                if branch_fds is not None:
                    self._become_branch(shared, *branch_fds.ends)
                    return
        for fd in fds.all:
            os.close(fd)
        copies.resume()
        self.snippets.loop.take_up()
        if refusal:
            self._channel.send(CopyResult(message.nonce, refusal))

    def _become_branch(
        self, shared: own_objects.Shared, channel_fd: int, stdout_fd: int, stderr_fd: int
    ) -> None:
        """Be the session process of a branch, on a channel and streams of its own."""
        branch.drop_privileges()
        try:
            shared.make_own()
        except OSError as error:
            copies.report_refusal(channel_fd, f"an open file could not be opened anew ({error})")
            os._exit(1)
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
        copies.wake()
        self.snippets.loop.renew()
        atfork.name_main_thread()
        random.setstate(chance)

    def _answer(self, message: Query) -> None:
        fd = -1
        if message.kind in ("set", "get"):
            try:
                [fd] = self._channel.take_descriptors(1)
            except ValueError:
                self._channel.send(Answered(message.nonce, "", NO_DESCRIPTOR_LEFT))
                return
        # Guest code may run in a property or a `__dir__`; what it shows has no snippet to go to.
        namespace = self.snippets.namespace
        found = queries.answer(message.kind, message.text, message.number, namespace, fd)
        self._leave_if_forked()
        if fd >= 0:
            os.close(fd)
        body = found.body if len(found.body) <= TEXT_CAP else ""
        refusal = found.refusal if body or found.refusal else "the answer is too long"
        self._channel.send(Answered(message.nonce, body, refusal))

    def _feed_stdin(self, stdin: str | None) -> None:
        """Make descriptor 0 and `sys.stdin` read `stdin`, or nothing."""
        if stdin is None:
            if not self._has_stdin:
                return
            source = os.open("/dev/null", os.O_RDONLY)
        else:
            source = streams.nameless_file()
            with open(source, "wb", closefd=False) as stream:
                stream.write(stdin.encode("utf-8", "surrogatepass"))
            os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, 0)
        os.close(source)
        streams.replace_stdin()
        self._has_stdin = stdin is not None

    def show(
        self,
        bundle: dict[str, str],
        metadata: dict[str, str | int | float | bool | None],
        number: int,
    ) -> None:
        """Have the host show a bundle, in place of one of that number."""
        self._say(Display(self._nonce, bundle, metadata, number))

    def clear(self) -> None:
        """Have the host forget what the snippet has shown."""
        self._say(ClearDisplays(self._nonce))

    def _report(self, action: str, tried: str, rule: str, hint: str) -> None:
        line = line_of(sys._getframe(1))
        self._say(Denied(self._nonce, "import_policy", tried, f"{rule} -> {action}", hint, line))

    @property
    def channel(self) -> GuestChannel:
        """The channel to the host."""
        return self._channel

    def call_host(self, message: ToolCall) -> None:
        """Send a call of a host function. Raises RuntimeError while no snippet runs."""
        if not self._is_running or os.getpid() != self._pid:
            raise RuntimeError("functions of the host can be called while a snippet runs, by it")
        self._say(ToolCall(self._nonce, message.id, message.name, message.arguments))

    def receive_whole(self) -> Message:
        """The next message of the channel; an interrupt waits until it is whole."""
        is_main = threading.get_ident() == self._main_thread
        self._is_sending = self._is_sending or is_main
        try:
            return self._channel.receive()
        except (ChannelClosed, FrameError, MessageError, ConnectionError):
            os._exit(0)  # The host is gone, as `serve` would find.
        finally:
            if is_main:
                self._is_sending = False
            self._raise_if_interrupted()

    def say_attempt(self, tried: Tried, line: int) -> None:
        """Tell the host of an attempt; in a process that the snippet forked, tell this one."""
        trace = self._trace
        assert trace is not None
        if os.getpid() != self._pid:
            trace.say_in_child(tried, line)
        elif self._is_running and self._sending.acquire(blocking=False):
            # Else a signal's handler, or another thread, is here while a message goes out.
            self._sending.release()
            for message in trace.unsent(tried, line, self._nonce):
                self._say(message)
        else:
            trace.keep(tried, line)

    def _say(self, message: Display | ClearDisplays | Denied | ToolCall | Attempted) -> None:
        """Send what the running snippet has to show; any of its threads may.

        After its end, and in children that it forked, nothing is sent. An interrupt waits until the
        frame is out whole: half a frame would end the session.
        """
        if not self._is_running or os.getpid() != self._pid:
            return
        with self._sending:
            self._is_sending = threading.get_ident() == self._main_thread
            try:
                self._channel.send(message)
            finally:
                self._is_sending = False
        self._raise_if_interrupted()

    def _raise_if_interrupted(self) -> None:
        if self._is_interrupted and threading.get_ident() == self._main_thread:
            self._is_interrupted = False
            raise KeyboardInterrupt

    def _leave_if_forked(self) -> None:
        """End a child that the snippet forked and that ran off the end of the snippet."""
        if os.getpid() != self._pid:
            streams.flush()
            os._exit(0)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # An interrupt that arrives late must not hit the engine's own code.
        if self._is_sending:
            self._is_interrupted = True
        elif self._is_running:
            raise KeyboardInterrupt


def _branchable(own_fds: set[int]) -> tuple[str, own_objects.Shared | None]:
    """Why there can be no branch of this process, or what one has to have anew."""
    child_pools.end()  # Its pipes cannot be had twice.
    refusal = copies.obstacle()
    if refusal:
        return refusal, None
    try:
        return "", own_objects.find(own_fds)
    except own_objects.CannotBeShared as error:
        return str(error), None


def _checked(plan: JailPlan, message: Check) -> Checked:
    code = message.code
    if plan.notebook and plan.language == "full":
        # As it would be run: `!curl` is a program, and no mistake.
        code = forms.rewrite(code) or code
    found = check.check(code, plan.import_rules, plan.import_default, plan.language)
    return Checked(message.nonce, found.imports, found.refusals, found.syntax_error, found.findings)


def _done(
    nonce: str, ending: Ending, in_place: str, slow_import: str = "", slow_import_ms: int = 0
) -> Done:
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
        exit_code=ending.exit_code,
        slow_import=slow_import,
        slow_import_ms=slow_import_ms,
    )
