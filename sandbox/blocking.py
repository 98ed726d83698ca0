"""The blocking face: the same names and arguments, for programs without an event loop.

One implementation serves both. A thread of its own runs the loop; calls hand a coroutine over
and wait. The thread is made on first use, shared by all sandboxes of the process, and made anew
in a forked child.
"""

import atexit
import os
import ssl
import weakref
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

from sandbox import events
from sandbox.blocking_files import BlockingFiles
from sandbox.engine import LOCAL, AsyncSandbox
from sandbox.errors import StaleProcess
from sandbox.loop_thread import loop_thread
from sandbox.outcome import ExecResult, Outcome
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.policy.sizes import POOL_SIZE, SESSIONS_CAP, WAITING_CAP
from sandbox.protocol.messages import Checked
from sandbox.remote.sandbox import AsyncRemoteSandbox
from sandbox.session.best_of import BestOf
from sandbox.session.checkpoints import Checkpoint, CheckpointState
from sandbox.session.commands.command import AsyncCommand, CommandEvent
from sandbox.session.description import SessionDescription
from sandbox.session.expiry import RETENTION_S
from sandbox.session.host_tools import HostTools
from sandbox.session.live_session import CHECKPOINT_BYTES, CHECKPOINTS_KEPT
from sandbox.session.session import AsyncSession
from sandbox.session.values import Completion, Inspection, Variable

T = TypeVar("T")

_open_boxes: "weakref.WeakSet[Sandbox]" = weakref.WeakSet()


@atexit.register
def _close_open_boxes() -> None:
    """Leave nothing behind when the program ends without a close."""
    for box in list(_open_boxes):
        box.close()


class Sandbox:
    """Runs snippets in jails; see AsyncSandbox. Use it from any number of threads."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        pool_size: int = POOL_SIZE,
        max_sessions: int = SESSIONS_CAP,
        max_waiting: int = WAITING_CAP,
        tools: HostTools | None = None,
        engine: str = LOCAL,
    ) -> None:
        self._made_in = os.getpid()
        self._box = AsyncSandbox(
            policy,
            pool_size=pool_size,
            max_sessions=max_sessions,
            max_waiting=max_waiting,
            tools=tools,
            engine=engine,
        )
        _open_boxes.add(self)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        key: str = "",
        tools: HostTools | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """The same calls against another machine's `cellblock serve`; see AsyncSandbox.connect."""
        box = cls.__new__(cls)
        box._made_in = os.getpid()
        # The same calls, held to be so by tests/clients/test_remote.py.
        box._box = cast(AsyncSandbox, AsyncRemoteSandbox(url, key=key, tools=tools, tls=tls))
        _open_boxes.add(box)
        return box

    @property
    def policy(self) -> Policy:
        return self._box.policy

    def __enter__(self) -> Self:
        try:
            self._call(self._box.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run one snippet in a fresh jail that ends with it."""
        return self._call(self._box.run(code, limits=limits, stdin=stdin, tools=tools))

    def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> Iterator[events.Event]:
        """Events of one snippet in a fresh jail, as they happen."""
        return self._iterate(self._box.stream(code, limits=limits, stdin=stdin, tools=tools))

    def session(
        self,
        *,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        tools: HostTools | None = None,
    ) -> "Session":
        """A session, open already. Close it, or use it as a context manager."""
        session = self._box.session(
            tools=tools,
            ttl_s=ttl_s,
            retention_s=retention_s,
            checkpoints=checkpoints,
            checkpoint_bytes=checkpoint_bytes,
        )
        return Session(self, self._call(_opened(session)))

    def expect(self, sessions: int) -> None:
        """Keep so many more workers warm than `pool_size`, for sessions that are likely to be
        opened soon; a negative number takes it back."""

        async def tell() -> None:
            self._box.expect(sessions)

        self._call(tell())

    def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        return self._call(self._box.check(code))

    def map(
        self,
        snippets: Iterable[str],
        *,
        limits: Limits | None = None,
        concurrency: int | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[int, Outcome]]:
        """(index, outcome) of each snippet, each in a fresh jail; see AsyncSandbox.map."""
        return self._iterate(
            self._box.map(snippets, limits=limits, concurrency=concurrency, ordered=ordered)
        )

    def close(self) -> None:
        """End every session; nothing is left when this returns. May be called again."""
        _open_boxes.discard(self)
        if self._made_in == os.getpid():
            self._call(self._box.close())

    def _call(self, work: Coroutine[object, object, T]) -> T:
        if os.getpid() != self._made_in:
            work.close()
            raise StaleProcess("The sandbox", self._made_in, os.getpid())
        return loop_thread().call(work)

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """`source` item by item; leaving the loop early ends it too."""
        try:
            while True:
                try:
                    yield self._call(_next(source))
                except StopAsyncIteration:
                    return
        finally:
            self._call(_close_iterator(source))


class Command:
    """A program beside the interpreter; see AsyncCommand. Made by `Session.popen`."""

    def __init__(self, box: Sandbox, command: AsyncCommand) -> None:
        self._box = box
        self._command = command

    @property
    def pid(self) -> int:
        """Its pid in the session's namespace; 0 until it was started."""
        return self._command.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._command.is_running

    def write(self, data: bytes | str) -> None:
        """Write to its standard input; waits while much of it has not been read yet."""
        self._box._call(self._command.write(data))

    def close_stdin(self) -> None:
        """Let it read the end of its standard input, after what was written."""
        self._box._call(_done(self._command.close_stdin))

    def read_event(self) -> CommandEvent | None:
        """What it writes next, or its end; None after that."""
        return self._box._call(self._command.read_event())

    def kill(self, signal: str | int = "SIGKILL", *, tree: bool = True) -> None:
        """Send it a signal, and with `tree` all that descends from it."""
        self._box._call(_done(lambda: self._command.kill(signal, tree=tree)))

    def wait(self) -> ExecResult:
        """Wait for its end."""
        return self._box._call(self._command.wait())


async def _done(work: Callable[[], None]) -> None:
    """Do on the loop what is over at once."""
    work()


class Session(BlockingFiles):
    """Variables, imports and files that persist; see AsyncSession. Made by `Sandbox.session()`."""

    _box: Sandbox
    _session: AsyncSession

    def __init__(self, box: Sandbox, session: AsyncSession) -> None:
        self._box = box
        self._session = session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_live(self) -> bool:
        """Whether a snippet can be run: it is open, not expired, and its processes are there."""
        return self._session.is_live

    @property
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        return self._session.enforcement

    def describe(self) -> SessionDescription:
        """Interpreter, packages, limits, layers, places for files, and what survives."""
        return self._box._call(self._session.describe())

    def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run `code` and give back how it ended; see AsyncSession.run."""
        return self._box._call(
            self._session.run(code, limits=limits, stdin=stdin, script=script, tools=tools)
        )

    def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> Iterator[events.Event]:
        """Events of `run` as they happen; the last one is `Finished`."""
        return self._box._iterate(
            self._session.stream(code, limits=limits, stdin=stdin, script=script, tools=tools)
        )

    def interrupt(self) -> None:
        """End the snippet that runs now; see AsyncSession.interrupt.

        For other threads and for signal handlers: it returns at once.
        """
        if self._box._made_in == os.getpid():
            loop_thread().loop.call_soon_threadsafe(self._session.interrupt)

    @property
    def expires_at(self) -> float | None:
        """When the session expires, in seconds since the epoch; None for never."""
        return self._session.expires_at

    def extend(self, ttl_s: float) -> None:
        """Let the session expire `ttl_s` seconds from now, and not before."""
        self._box._call(self._session.extend(ttl_s))

    def checkpoint(self, name: str | None = None) -> Checkpoint:
        """A handle to the variables as they are now, for `rollback`."""
        return self._box._call(self._session.checkpoint(name))

    def rollback(self, checkpoint: Checkpoint) -> None:
        """Put the variables back to what they were at `checkpoint`, which stays."""
        self._box._call(self._session.rollback(checkpoint))

    def drop(self, checkpoint: Checkpoint) -> None:
        """Let go of a checkpoint and the memory that it holds; nothing if that was done before."""
        self._box._call(self._session.drop(checkpoint))

    def checkpoints(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first, with the memory of each."""
        return self._box._call(self._session.checkpoints())

    @overload
    def fork(self) -> "Session": ...

    @overload
    def fork(self, n: int) -> "list[Session]": ...

    def fork(self, n: int | None = None) -> "Session | list[Session]":
        """A session that goes on from here by itself, with a copy of the files; or `n` of them."""
        branches = self._box._call(_forked(self._session, 1 if n is None else n))
        made = [Session(self._box, branch) for branch in branches]
        return made[0] if n is None else made

    def best_of(
        self,
        snippets: Sequence[str],
        *,
        key: Callable[[Outcome], float] | None = None,
        limits: Limits | None = None,
    ) -> BestOf:
        """Run each of `snippets` in a branch of its own, all at once; the winner is the session.

        `key` is called on the thread of the event loop.
        """
        return self._box._call(self._session.best_of(snippets, key=key, limits=limits))

    def try_run(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> Outcome:
        """Run `code` and keep what it did to the variables only if it completed."""
        return self._box._call(self._session.try_run(code, limits=limits, stdin=stdin))

    def exec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a program in the session's jail beside the interpreter; see AsyncSession.exec."""
        return self._box._call(
            self._session.exec(command, cwd=cwd, env=env, stdin=stdin, timeout_s=timeout_s)
        )

    def exec_stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[CommandEvent]:
        """What a program writes as it comes, `ExecFinished` last."""
        return self._box._iterate(
            self._session.exec_stream(command, cwd=cwd, env=env, stdin=stdin, timeout_s=timeout_s)
        )

    def popen(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> "Command":
        """Start a program beside the interpreter; see AsyncSession.popen."""
        started = self._box._call(
            self._session.popen(command, cwd=cwd, env=env, timeout_s=timeout_s)
        )
        return Command(self._box, started)

    def set(self, **values: object) -> None:
        """Set variables of the session; see AsyncSession.set."""
        self._box._call(self._session.set(**values))

    def get_value(self, name: str) -> Any:
        """Return a copy of the variable `name`; see AsyncSession.get_value."""
        return self._box._call(self._session.get_value(name))

    def variables(self) -> list[Variable]:
        """Return the session's variables, without modules and names that begin with `_`."""
        return self._box._call(self._session.variables())

    def complete(self, code: str, cursor: int | None = None) -> Completion:
        """Return the names that can go on at `cursor`, counted in characters; the end without."""
        return self._box._call(self._session.complete(code, cursor))

    def inspect(self, name: str) -> Inspection:
        """Return what is known of the object behind a dotted name."""
        return self._box._call(self._session.inspect(name))

    def is_complete(self, code: str) -> Literal["complete", "incomplete", "invalid"]:
        """Whether `code` can be run as it is, wants more lines, or never will."""
        return self._box._call(self._session.is_complete(code))

    def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        return self._box._call(self._session.check(code))

    def close(self) -> None:
        """End the session's processes and throw its files away. May be called again."""
        if self._box._made_in == os.getpid():
            self._box._call(self._session.close())


async def _opened(session: AsyncSession) -> AsyncSession:
    return await session.__aenter__()


async def _forked(session: AsyncSession, n: int) -> Sequence[AsyncSession]:
    return await session.fork(n)


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _close_iterator(source: AsyncIterator[T]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
