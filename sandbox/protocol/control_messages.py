"""Messages of the control channel: host <-> worker init or namespace builder, all trusted."""

from typing import Annotated

from sandbox.protocol.bounds import (
    NAME_CAP,
    Count,
    GroupCount,
    LayerNames,
    Pid,
    flag,
    items,
    mapping,
    text,
    whole,
)
from sandbox.protocol.codec import Message, message, pack_body

NESTING = "nesting"
"""Step of a `Failed` that says: the kernel makes no namespaces below these any more."""

Pids = Annotated[list[int], items(whole(1, 2**22), 256)]
NamespaceCount = Annotated[int, whole(0, 16)]
Entrant = Annotated[int, whole(0, 2**22)]
"""Pid of an entrant; 0 where there is none yet."""


@message(10, "from_init")
class Ready(Message):
    """The jail holds and the session process `pid` waits.

    The session process says it, as its only word on this channel. Descriptors: the pidfd of init,
    then workspace, tmp and shm, and the sockets of the plan's ports. Of a branch, init says it,
    and the directories came before.
    """

    pid: Pid
    layers: LayerNames


@message(11, "from_init")
class Exited(Message):
    """`pid` ended with `status`, as waitpid gives it."""

    pid: Pid
    status: Annotated[int, whole(0, 0xFFFF)]


@message(12, "to_init")
class Interrupt(Message):
    """Send SIGINT to `pid`."""

    pid: Pid


@message(13, "to_init")
class Kill(Message):
    """Stop every process of the session at once, then kill all but init and `spare`.

    With `keeps_commands` the commands of `Exec` go on too, and what descends from them.
    """

    spare: Pids
    keeps_commands: Annotated[bool, flag()]


@message(14, "to_init")
class Watch(Message):
    """Report the end of `pid`; at once when it is over already."""

    pid: Pid


@message(15, "from_init")
class Killed(Message):
    """Answer to `Kill`: `count` processes were ended.

    `gone` are those of `spare` that something else had ended, or was ending.
    """

    count: Count
    gone: Pids


@message(16, "to_init")
class Pause(Message):
    """Stop every process of the session but init, or let them all go on."""

    stopped: Annotated[bool, flag()]


# ---- branches -----------------------------------------------------------------------------------


@message(17, "to_init")
class Branch(Message):
    """Fork a namespace builder.

    Descriptor: its channel, on which the host sends `BuildNamespaces`. The builder says nothing
    there; if it cannot be made, init answers there with `Failed`.
    """


@message(41, "to_init")
class BuildNamespaces(Message):
    """Make the namespaces of a branch. Descriptors: its control channel, then `cgroups`."""

    cgroups: GroupCount


@message(37, "from_init")
class NamespacesReady(Message):
    """First word of a branch init.

    Descriptors: its namespaces, its directories, and the sockets of the plan's ports.
    """

    namespaces: NamespaceCount


@message(18, "to_init")
class AllowSetns(Message):
    """Let `entrant`, 0 for the next process that asks, enter the last `namespaces` of the list.

    With 0 namespaces every setns is refused from then on; the answer is `SetnsDenied`.
    """

    namespaces: NamespaceCount
    entrant: Entrant


@message(38, "from_init")
class SetnsDenied(Message):
    """Setns is refused again. `entrant`, 0 for none, has entered `passed` namespaces."""

    passed: NamespaceCount
    entrant: Entrant


@message(19, "to_init")
class Confirm(Message):
    """Answer with `Ready` if `pid` is bound and alone in the branch, else with `Failed`."""

    pid: Pid


@message(39, "to_init")
class KillEscaped(Message):
    """End `entrants`, if any; then look for escaped processes, if asked to.

    The answer is `EscapedKilled`. Escaped processes are those of this pid namespace that entered a
    branch in part. The init that allowed setns ends entrants; the init of the session that was
    branched ends escaped processes.
    """

    entrants: Pids
    looks: Annotated[bool, flag()]


@message(40, "from_init")
class EscapedKilled(Message):
    """The entrants have ended; so have `escaped` processes, which had capabilities."""

    escaped: Count


def ready_frame(pid: int, layers: bytes) -> bytes:
    """What `pack` makes of Ready, for a process that must touch few pages; `layers` as JSON."""
    return pack_body(Ready, b'{"pid":%d,"layers":%s}' % (pid, layers))


# ---- what a traced session is refused --------------------------------------------------------

CALLS_CAP = 200
"""Different calls that are told between two `TakeRefusals`; the others are counted."""
_TEXT = text(NAME_CAP)


@message(64, "to_init")
class TakeRefusals(Message):
    """Say how often the filter refused each call, and begin to count anew."""


@message(65, "from_init")
class CallRefused(Message):
    """The filter refused this call, for the first time since `TakeRefusals`.

    `is_read` says that some of the arguments were read from the caller's memory. `program` is the
    name that the process gives itself.
    """

    call: Annotated[str, text(64)]
    arguments: Annotated[dict[str, str], mapping(_TEXT, 8)]
    errno: Annotated[int, whole(0, 4095)]
    why: Annotated[str, _TEXT]
    program: Annotated[str, _TEXT]
    is_read: Annotated[bool, flag()]


@message(66, "from_init")
class RefusalCounts(Message):
    """Answer to `TakeRefusals`: a count for each `CallRefused` since, and of those not told."""

    counts: Annotated[list[int], items(whole(1, 2**31), CALLS_CAP)]
    left_out: Count


ARGUMENTS_CAP_BYTES = 1024 * 1024
"""Of one argument or variable; the kernel's own limit is lower: execve(2)."""
CommandId = Annotated[int, whole(1, 2**31)]


@message(50, "to_init")
class Exec(Message):
    """Start the program `argv` in the jail. Descriptors: its stdin, stdout, stderr.

    `cwd` is absolute or below the workspace. `env` is set over the session's own. The answer is
    `CommandStarted` or `CommandEnded`, which comes last in any case. With `more_follow` init
    readies a process for the next one.
    """

    id: CommandId
    argv: Annotated[list[str], items(text(ARGUMENTS_CAP_BYTES), 4096)]
    cwd: Annotated[str, text(4096)]
    env: Annotated[dict[str, str], mapping(text(ARGUMENTS_CAP_BYTES), 500)]
    more_follow: Annotated[bool, flag()]


@message(51, "to_init")
class SignalCommand(Message):
    """Send `number` to a command, with `tree` to all that descends from it too."""

    id: CommandId
    number: Annotated[int, whole(1, 64)]
    tree: Annotated[bool, flag()]


@message(52, "from_init")
class CommandStarted(Message):
    """The command is process `pid` of the session's pid namespace."""

    id: CommandId
    pid: Pid


@message(53, "from_init")
class CommandEnded(Message):
    """The command ended with `status`, as waitpid gives it; times in microseconds.

    They and the memory are of the command and the children that it waited for.
    """

    id: CommandId
    status: Annotated[int, whole(0, 0xFFFF)]
    user_us: Count
    system_us: Count
    peak_kib: Count


@message(54, "to_init")
class EndSpare(Message):
    """End the process that was readied for the next command: a snippet is to run.

    The answer is `SpareEnded`, at once if there was none.
    """


@message(55, "from_init")
class SpareEnded(Message):
    """No process waits for a next command."""
