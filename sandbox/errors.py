"""The exception tree: what the engine itself failed to do, or was wrongly asked to do.

What a snippet did is never here: that is an `Outcome`. Each error keeps its facts as attributes
and builds its message from them: what failed, what was seen, what to do.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Literal, Self, TypeVar

E = TypeVar("E", bound="SandboxError")


class SandboxError(Exception):
    """Base of every error that the engine raises. Survives pickle and copy with its facts."""

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would call __init__ with the message alone.
        return rebuilt, (type(self), self.args, self.__dict__)


def rebuilt(cls: type[E], args: tuple[object, ...], facts: dict[str, object]) -> E:
    """An error with its message and facts as they were told, without building them anew."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(facts)
    return error


def _sentences(*parts: str) -> str:
    """`parts` that are not empty, each closed by a full stop."""
    closed = (part if part[-1] in ".!?" else part + "." for part in parts if part)
    return " ".join(closed)


# ---- bad input ----------------------------------------------------------------------------------


class PolicyError(SandboxError, ValueError):
    """A policy, a limit or a call asks for something that is unknown, unsafe or contradictory.

    `field` is the dotted name of what is wrong; `source` names the file it was read from.
    """

    def __init__(self, field: str, problem: str, remedy: str = "", *, source: str = "") -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.source = source
        place = ": ".join(part for part in (source, field) if part)
        super().__init__(_sentences(f"{place}: {problem}" if place else problem, remedy))

    def in_source(self, source: str) -> Self:
        """The same error, said to come from the file `source`."""
        return type(self)(self.field, self.problem, self.remedy, source=source)


class ValueNotCarried(SandboxError, ValueError):
    """A variable that is not there, or a value that cannot be carried into or out of the jail."""

    def __init__(self, name: str, problem: str, remedy: str = "") -> None:
        self.name = name
        self.problem = problem
        super().__init__(_sentences(f"{name}: {problem}", remedy))


class FileRefused(SandboxError, ValueError):
    """A file was not put into or taken out of a session. `path` is the guest's.

    Its subclasses tell the common reasons apart; what is none of them is refused for what it is:
    a link, a FIFO, a name that is none.
    """

    kind: ClassVar[str] = "refused"
    """The reason in one word, for those that pass it on."""

    def __init__(self, path: str, reason: str, remedy: str = "") -> None:
        self.path = path
        self.reason = reason
        self.remedy = remedy
        super().__init__(_sentences(f"File {path!r} was refused: {reason}", remedy))

    def of(self, path: str) -> Self:
        """The same refusal, of what the caller named `path`."""
        return self if path == self.path else type(self)(path, self.reason, self.remedy)


class FileNotThere(FileRefused):
    """There is no file or directory of that name."""

    kind = "not_found"


class FileIsThere(FileRefused):
    """There is something of that name already."""

    kind = "exists"


class FileIsDirectory(FileRefused):
    """It is a directory, where a file is wanted, or one that is not empty."""

    kind = "is_directory"


class FileNotDirectory(FileRefused):
    """It is, or lies below, a file where a directory is wanted."""

    kind = "not_directory"


class FileNotPermitted(FileRefused):
    """It is outside of what a session may write to, or the guest closed it."""

    kind = "not_permitted"


class NoRoomForFile(FileRefused):
    """The session's disk has no room for it."""

    kind = "no_room"


# ---- the machine --------------------------------------------------------------------------------


class LayerUnavailable(SandboxError):
    """A layer that the policy wants does not hold here, so nothing was run."""

    def __init__(self, layer: str, probe: str, remedy: str) -> None:
        self.layer = layer
        self.probe = probe
        self.remedy = remedy
        super().__init__(_sentences(f"Layer {layer!r} is not available", f"Probe: {probe}", remedy))


class EnvironmentFailed(SandboxError):
    """The interpreter is missing or unfit, or a module to preload does not import.

    `module` is empty when the interpreter itself is at fault.
    """

    def __init__(
        self, interpreter: str, detail: str, *, module: str = "", remedy: str = ""
    ) -> None:
        self.interpreter = interpreter
        self.module = module
        self.detail = detail
        self.remedy = remedy
        failed = (
            f"Preloading {module!r} with {interpreter} failed"
            if module
            else f"Interpreter {interpreter!r} cannot be used"
        )
        super().__init__(_sentences(f"{failed}: {detail}", remedy))


class ZygoteDied(SandboxError):
    """The process that forks workers ended by itself. `ending` is how, `said` its last words."""

    def __init__(self, ending: str, *, step: str = "", said: str = "", remedy: str = "") -> None:
        self.ending = ending
        self.step = step
        self.said = said
        self.remedy = remedy
        super().__init__(
            _sentences(
                f"The zygote died{f' at step {step!r}' if step else ''}: {ending}",
                f"It said: {said}" if said else "",
                remedy,
            )
        )


class EngineTimeout(SandboxError):
    """A step of the engine itself, not of a snippet, took longer than it may."""

    def __init__(self, step: str, waited_s: float, remedy: str = "") -> None:
        self.step = step
        self.waited_s = waited_s
        self.remedy = remedy or "Try again; if it repeats, the machine is overloaded"
        super().__init__(
            _sentences(f"The engine gave up on {step} after {waited_s:.3g} s", self.remedy)
        )


class PoolFull(SandboxError):
    """Every place is taken and the queue is full; worth another try after `retry_after_s`."""

    def __init__(self, retry_after_s: float, live: int, waiting: int) -> None:
        self.retry_after_s = retry_after_s
        self.live = live
        self.waiting = waiting
        super().__init__(
            f"The pool is full: {live} sessions live, {waiting} calls waiting."
            f" Try again in {retry_after_s:.3g} s, or raise the pool's size."
        )


class StaleProcess(SandboxError):
    """An object was used in a forked child of the process that made it."""

    def __init__(self, what: str, made_in: int, used_in: int) -> None:
        self.what = what
        self.made_in = made_in
        self.used_in = used_in
        super().__init__(
            f"{what} was made in process {made_in} and used in process {used_in}."
            " Its workers belong to the first: make a new one after the fork."
        )


PackageProblem = Literal[
    "not_found", "offline", "timeout", "no_room", "no_installer", "forbidden", "failed"
]


class PackagesNotInstalled(SandboxError):
    """Packages were not resolved, fetched or laid out; nothing was changed. `problem` says why."""

    def __init__(
        self, packages: Sequence[str], problem: PackageProblem, detail: str, remedy: str = ""
    ) -> None:
        self.packages = tuple(map(str, packages))
        self.problem: PackageProblem = problem
        self.detail = detail
        self.remedy = remedy
        what = ", ".join(self.packages[:5]) + (", ..." if len(self.packages) > 5 else "")
        super().__init__(
            _sentences(f"Packages{f' {what}' if what else ''} were not installed: {detail}", remedy)
        )


# ---- sessions -----------------------------------------------------------------------------------


class SessionError(SandboxError):
    """Base of the errors after which a session is of no further use."""


class SessionClosed(SessionError):
    """A session or sandbox was used after its close."""

    def __init__(self, what: str = "session", *, was_opened: bool = True) -> None:
        self.what = what
        super().__init__(
            f"The {what} is closed. Open a new one."
            if was_opened
            else f"The {what} was never opened. Write `async with box.session() as session:`, or"
            " `session = await box.session()`."
        )


class SessionLost(SessionError):
    """The session's processes are gone, and its variables and files with them."""

    def __init__(self, why: str, when: datetime | None = None) -> None:
        self.why = why
        self.when = when or datetime.now(UTC)
        super().__init__(
            _sentences(
                f"The session was lost at {_clock(self.when)}: {why}",
                "Its variables and files are gone; open a new session",
            )
        )


class SessionExpired(SessionError):
    """The session was thrown away on purpose: too old, or idle for too long."""

    def __init__(self, why: str, when: datetime | None = None) -> None:
        self.why = why
        self.when = when or datetime.now(UTC)
        super().__init__(
            _sentences(
                f"The session expired at {_clock(self.when)}: {why}",
                "Its variables are gone, its files stay for the retention time; open a new session",
            )
        )


class GuestFault(SessionError):
    """The guest broke the protocol; its session was ended. `fault` says what came."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(
            _sentences(
                f"The guest broke the protocol and its session was ended: {fault}",
                "Open a new session",
            )
        )


class CopyRefused(SandboxError):
    """The session cannot be copied faithfully just now, so there is no checkpoint or branch."""

    def __init__(
        self, why: str, *, remedy: str = "End that first, or go on without a copy"
    ) -> None:
        self.why = why
        super().__init__(_sentences(f"The session cannot be copied: {why}", remedy))


class BranchesTooDeep(CopyRefused):
    """The kernel makes no namespaces below those of the session, so there is no branch of it.

    `generation` counts the branches from the first session down to it.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        super().__init__(
            f"it is {generation} branches away from its first session, and the kernel makes no"
            " namespaces below its own, which nest 32 deep at most",
            remedy="Branch a session nearer to the first one, or take what is needed to a new"
            " session. With few branches, raise user.max_user_namespaces and"
            " user.max_pid_namespaces",
        )


class CheckpointDropped(SandboxError):
    """A checkpoint exists no more, so there is nothing to roll back to or fork from."""

    def __init__(self, checkpoint: str, why: str) -> None:
        self.checkpoint = checkpoint
        self.why = why
        super().__init__(
            _sentences(f"Checkpoint {checkpoint} was dropped: {why}", "Take a new checkpoint")
        )


# ---- another machine ----------------------------------------------------------------------------


class RemoteFailed(SandboxError):
    """A server that was asked for sessions did not do its part. `status` is 0 without an answer."""

    def __init__(self, server: str, problem: str, remedy: str = "", *, status: int = 0) -> None:
        self.server = server
        self.problem = problem
        self.remedy = remedy
        self.status = status
        answered = f" answered {status}" if status else ""
        super().__init__(_sentences(f"{server}{answered}: {problem}", remedy))


class ServerBusy(PoolFull):
    """A server has no room for one more call; worth another try after `retry_after_s`.

    How many are live and wait there is not told: both are 0.
    """

    def __init__(self, server: str, problem: str, retry_after_s: float) -> None:
        super().__init__(retry_after_s, 0, 0)
        self.server = server
        self.problem = problem
        again = f"Try again in {retry_after_s:.3g} s"
        self.args = (_sentences(f"{server}: {problem}", again),)


class NotRemote(SandboxError, NotImplementedError):
    """A call that sessions of another machine do not have."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(_sentences(f"{what} is not possible over HTTP", remedy))


def _clock(when: datetime) -> str:
    return when.isoformat(sep=" ", timespec="seconds")
