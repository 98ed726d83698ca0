"""Every message between host and guest: direction, fields, bounds.

Theory of operation
===================

Three kinds of channel, each a stream socketpair that carries frames:

* **zygote channel** (host <-> zygote, both trusted). The host sends `Plan` once, then `Spawn`
  with descriptors attached. The zygote answers `ZygoteReady`, or `Failed` naming the step.
* **control channel** (host <-> worker init, both trusted). Init tells the host `Ready` when
  every layer holds, `Exited` for each process that the host watches; the host sends
  `Interrupt`, `Kill` and `Watch`. Init runs no guest code, so what it says is believed.
* **guest channel** (host <-> one session process, hostile from its first snippet on). The host
  sends `Run`, `ForkCopy`, `Check`, `Measure`, `Warm`. The guest answers `Run` with any number of
  `Display` and `Denied` and exactly one `Done`, `Warm` with nothing, the others with one
  message. A copy of the process has a channel of its own, on which its first word is `CopyReady`;
  then it serves like the original. All that a guest says can be forged, and none of it is trusted
  beyond that session: each field is
  bounded, a message out of place is a fault, and the host decides from what the kernel said
  (wait status, limits hit) before it looks at `Done`.

A message is a frozen dataclass; its row in `SPECS` gives kind, direction and the bound of each
field. JSON is the only encoding: no pickle, no marshal, no nesting below the first level but
what a `rows` bound spells out. The module is longer than most, so that the whole protocol can be
read in one place.
"""

import json
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Literal, NamedTuple

from sandbox.protocol.bounds import (
    NAME_CAP,
    Bound,
    flag,
    items,
    mapping,
    optional_text,
    row,
    scalar,
    seconds,
    text,
    whole,
    word,
)
from sandbox.protocol.frames import Frame, encode

MiB = 1024 * 1024
CODE_CAP_BYTES = 16 * MiB
"""Longest source text of one snippet, encoded."""
TO_GUEST_CAP_BYTES = 72 * MiB
"""Longest frame that the guest accepts from the host: code and stdin, escaped by JSON."""
TO_HOST_CAP_BYTES = 24 * MiB
"""Longest frame that the host accepts from the guest; one display bundle at its cap fits."""
TRUSTED_CAP_BYTES = 8 * MiB
"""Longest frame that the host accepts from a zygote or init."""
TEXT_CAP = 1_000_000
"""Characters of an echo, a traceback, an error message."""
ROWS_CAP = 2_000
UNCOUNTED_BYTES = 64 * 1024
STRUCTURE_CAP_BYTES = 256 * 1024
QUOTES_CAP = 64 * 1024
"""JSON outside of strings costs its reader up to 25 times its size: `[],` is a list of 64 bytes.
A body above `UNCOUNTED_BYTES` may have this much of it, which the largest message needs."""


NO_PROCESS = "no process could be made for a copy"
"""How a refusal begins that says so; whoever said it may have been through the gate."""
NESTING = "nesting"
"""Step of a `Failed` that says: the kernel makes no namespaces below these any more."""


class MessageError(ValueError):
    """A message that its receiver must not act on."""


class Kind(IntEnum):
    PLAN = 1
    SPAWN = 2
    ZYGOTE_READY = 3
    FAILED = 4
    READY = 10
    EXITED = 11
    INTERRUPT = 12
    KILL = 13
    WATCH = 14
    KILLED = 15
    PAUSE = 16
    BRANCH = 17
    ALLOW_SETNS = 18
    CONFIRM = 19
    RUN = 20
    FORK_COPY = 21
    CHECK = 22
    MEASURE = 23
    ENTER_NAMESPACES = 24
    WARM = 25
    COPY_READY = 30
    DISPLAY = 31
    DONE = 32
    CHECKED = 33
    DENIED = 34
    COPY_RESULT = 35
    MEASURED = 36
    NAMESPACES_READY = 37
    SETNS_DENIED = 38
    KILL_ESCAPED = 39
    ESCAPED_KILLED = 40
    BUILD_NAMESPACES = 41


Direction = Literal["to_zygote", "from_zygote", "to_init", "from_init", "to_guest", "from_guest"]


# ---- zygote channel ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The environment to become; `plan` is `JailPlan.to_json` as text.

    `cgroups` names the groups that end with the zygote, one below each of the descriptors that
    come along; `directory` is removed with it too, if not empty.
    """

    plan: str
    cgroups: list[str]
    directory: str


@dataclass(frozen=True)
class Spawn:
    """Fork a worker. Descriptors come with it: control, guest, stdout, stderr, then `cgroups`.

    `directory` is the session's own directory on the host where no mount namespace gives it
    one; empty otherwise.
    """

    session: int
    cgroups: int
    directory: str


@dataclass(frozen=True)
class ZygoteReady:
    """The root is built and the preloads are imported. `layers` are the names that hold."""

    layers: list[str]
    python: str
    preload_s: float
    data_bytes: int


@dataclass(frozen=True)
class Failed:
    """A step of the start-up failed; nothing of the guest has run. From the zygote or init."""

    step: str
    message: str


# ---- control channel --------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """The jail holds and the session process `pid` waits: its own last word on this channel.

    Descriptors: the pidfd of init, then workspace, tmp and shm. Of a branch, init says it, and the
    directories came before.
    """

    pid: int
    layers: list[str]


@dataclass(frozen=True)
class Exited:
    """`pid` ended with `status`, as waitpid gives it."""

    pid: int
    status: int


@dataclass(frozen=True)
class Interrupt:
    """Send SIGINT to `pid`."""

    pid: int


@dataclass(frozen=True)
class Kill:
    """Stop every process of the session at once, then kill all but init and `spare`."""

    spare: list[int]


@dataclass(frozen=True)
class Killed:
    """The kill went through; `count` processes were ended. `gone` are those to spare that were
    dead or dying already, by somebody else's hand."""

    count: int
    gone: list[int]


@dataclass(frozen=True)
class Pause:
    """Stop every process of the session but init, or let them all go on."""

    stopped: bool


@dataclass(frozen=True)
class Branch:
    """Fork a namespace builder.

    Descriptor: its channel, on which the host sends `BuildNamespaces`.

    It says nothing there unless it cannot be made: then init answers Failed in its place.
    """


@dataclass(frozen=True)
class BuildNamespaces:
    """Make the namespaces of a branch. Descriptors: its control channel, then `cgroups`."""

    cgroups: int


@dataclass(frozen=True)
class NamespacesReady:
    """First word of a branch init. Descriptors: its namespaces, then its directories."""

    namespaces: int


@dataclass(frozen=True)
class AllowSetns:
    """Let `entrant`, 0 for the next process that asks, enter the last `namespaces` of the list.

    With 0 namespaces nobody is let in any more; the answer is SetnsDenied.
    """

    namespaces: int
    entrant: int


@dataclass(frozen=True)
class SetnsDenied:
    """The gate is shut. `entrant`, 0 for nobody, went through it into `passed` namespaces."""

    passed: int
    entrant: int


@dataclass(frozen=True)
class Confirm:
    """Answer with Ready if `pid` is bound and alone in the branch, else with Failed."""

    pid: int


@dataclass(frozen=True)
class KillEscaped:
    """End `entrants`, if any; then look for escaped processes, if asked to.

    The answer is EscapedKilled.

    Escaped processes are those of this pid namespace that entered a branch in part. Entrants are
    ended by the init of the gate, escaped processes by that of the session that was branched.
    """

    entrants: list[int]
    looks: bool


@dataclass(frozen=True)
class EscapedKilled:
    """The entrants have ended; so have `escaped` processes, which had capabilities."""

    escaped: int


@dataclass(frozen=True)
class Watch:
    """Report the end of `pid`; at once when it is over already."""

    pid: int


# ---- guest channel ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Run a snippet. With `survive`, a descriptor comes along: the channel of the standby."""

    nonce: str
    number: int
    code: str
    stdin: str | None
    survive: bool


@dataclass(frozen=True)
class ForkCopy:
    """Fork a copy of this process that waits on the channel whose descriptor comes along."""

    nonce: str


@dataclass(frozen=True)
class Check:
    """Say what `code` would need and what the policy would refuse. Runs nothing."""

    nonce: str
    code: str


@dataclass(frozen=True)
class EnterNamespaces:
    """Fork a copy into a branch. Descriptors: channel, stdout, stderr, namespaces, cgroups.

    The answer, CopyResult, comes when it is through the gate. The first of several is taken by the
    session process, which looks up whether it can be branched at all and forks a entrant; the
    others by the entrant. With 0 namespaces nobody departs: the answer comes when all who did
    are gone from here.
    """

    nonce: str
    namespaces: int
    cgroups: int


@dataclass(frozen=True)
class CopyResult:
    """Answer of the original to `ForkCopy`; `refusal` says why it could not be copied, if so.

    With a refusal it comes on the channel of the copy that there is not, too.
    """

    nonce: str
    refusal: str


@dataclass(frozen=True)
class Warm:
    """Do once, ahead of need, what every snippet makes the interpreter do. There is no answer."""


@dataclass(frozen=True)
class Measure:
    """Say how much memory only this process holds."""

    nonce: str


@dataclass(frozen=True)
class Measured:
    nonce: str
    private_bytes: int


@dataclass(frozen=True)
class CopyReady:
    """First word of a copy on its own channel; `pid` as its pid namespace numbers it."""

    pid: int


@dataclass(frozen=True)
class Display:
    """One MIME bundle; binary types as base64 text. `metadata` is a flat map of JSON scalars."""

    nonce: str
    bundle: dict[str, str]
    metadata: dict[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Denied:
    """A layer refused something and the guest goes on; shown as a denial of the outcome."""

    nonce: str
    layer: str
    tried: str
    rule: str
    hint: str


@dataclass(frozen=True)
class Done:
    """The snippet ended by itself. `ended` says how; the error fields are empty unless it raised.

    `names` are rows (change, name, type, size text, size in bytes) of session variables.
    `in_place` says why the process could not be copied before the snippet; empty when it was.
    """

    nonce: str
    ended: Literal["completed", "raised", "refused"]
    text: str | None
    error_type: str
    error_message: str
    error_traceback: str
    error_errno: int
    refused_line: int
    in_place: str
    names: list[list[str | int]]


@dataclass(frozen=True)
class Checked:
    """Answer to `Check`: rows (module, line, action, rule), rows (line, construct, reason)."""

    nonce: str
    imports: list[list[str | int]]
    refusals: list[list[str | int]]
    syntax_error: str


Message = (
    Plan
    | Spawn
    | ZygoteReady
    | Failed
    | Ready
    | Exited
    | Interrupt
    | Kill
    | Killed
    | Watch
    | Pause
    | Run
    | ForkCopy
    | Check
    | Measure
    | Warm
    | CopyReady
    | Display
    | Denied
    | Done
    | Checked
    | CopyResult
    | Measured
    | Branch
    | BuildNamespaces
    | NamespacesReady
    | AllowSetns
    | SetnsDenied
    | Confirm
    | KillEscaped
    | EscapedKilled
    | EnterNamespaces
)


# ---- specifications ------------------------------------------------------------------------------

PID = whole(1, 2**22)
NONCE = text(64)
LINE = whole(0, 2**31)
SIZE = whole(0, 2**62)


class Spec(NamedTuple):
    kind: Kind
    cls: type
    direction: Direction
    bounds: dict[str, Bound]


SPECS = (
    Spec(
        Kind.PLAN,
        Plan,
        "to_zygote",
        {
            "plan": text(4 * MiB),
            "cgroups": items(text(NAME_CAP), 8),
            "directory": text(4096),
        },
    ),
    Spec(
        Kind.SPAWN,
        Spawn,
        "to_zygote",
        {"session": SIZE, "cgroups": whole(0, 8), "directory": text(4096)},
    ),
    Spec(
        Kind.ZYGOTE_READY,
        ZygoteReady,
        "from_zygote",
        {
            "layers": items(text(64), 64),
            "python": text(200),
            "preload_s": seconds(),
            "data_bytes": SIZE,
        },
    ),
    Spec(Kind.FAILED, Failed, "from_zygote", {"step": text(200), "message": text(20_000)}),
    Spec(Kind.FAILED, Failed, "from_init", {"step": text(200), "message": text(20_000)}),
    Spec(Kind.READY, Ready, "from_init", {"pid": PID, "layers": items(text(64), 64)}),
    Spec(Kind.EXITED, Exited, "from_init", {"pid": PID, "status": whole(0, 0xFFFF)}),
    Spec(Kind.KILLED, Killed, "from_init", {"count": SIZE, "gone": items(PID, 256)}),
    Spec(Kind.INTERRUPT, Interrupt, "to_init", {"pid": PID}),
    Spec(Kind.KILL, Kill, "to_init", {"spare": items(PID, 256)}),
    Spec(Kind.BRANCH, Branch, "to_init", {}),
    Spec(Kind.BUILD_NAMESPACES, BuildNamespaces, "to_init", {"cgroups": whole(0, 8)}),
    Spec(Kind.NAMESPACES_READY, NamespacesReady, "from_init", {"namespaces": whole(0, 16)}),
    Spec(
        Kind.ALLOW_SETNS,
        AllowSetns,
        "to_init",
        {"namespaces": whole(0, 16), "entrant": whole(0, 2**22)},
    ),
    Spec(
        Kind.SETNS_DENIED,
        SetnsDenied,
        "from_init",
        {"passed": whole(0, 16), "entrant": whole(0, 2**22)},
    ),
    Spec(Kind.CONFIRM, Confirm, "to_init", {"pid": PID}),
    Spec(Kind.KILL_ESCAPED, KillEscaped, "to_init", {"entrants": items(PID, 256), "looks": flag()}),
    Spec(Kind.ESCAPED_KILLED, EscapedKilled, "from_init", {"escaped": SIZE}),
    Spec(
        Kind.ENTER_NAMESPACES,
        EnterNamespaces,
        "to_guest",
        {
            "nonce": NONCE,
            "namespaces": whole(0, 16),
            "cgroups": whole(0, 8),
        },
    ),
    Spec(Kind.PAUSE, Pause, "to_init", {"stopped": flag()}),
    Spec(Kind.WATCH, Watch, "to_init", {"pid": PID}),
    Spec(
        Kind.RUN,
        Run,
        "to_guest",
        {
            "nonce": NONCE,
            "number": SIZE,
            "code": text(CODE_CAP_BYTES),
            "stdin": optional_text(CODE_CAP_BYTES),
            "survive": flag(),
        },
    ),
    Spec(Kind.FORK_COPY, ForkCopy, "to_guest", {"nonce": NONCE}),
    Spec(Kind.MEASURE, Measure, "to_guest", {"nonce": NONCE}),
    Spec(Kind.WARM, Warm, "to_guest", {}),
    Spec(Kind.COPY_RESULT, CopyResult, "from_guest", {"nonce": NONCE, "refusal": text(NAME_CAP)}),
    Spec(Kind.MEASURED, Measured, "from_guest", {"nonce": NONCE, "private_bytes": SIZE}),
    Spec(Kind.CHECK, Check, "to_guest", {"nonce": NONCE, "code": text(CODE_CAP_BYTES)}),
    Spec(Kind.COPY_READY, CopyReady, "from_guest", {"pid": PID}),
    Spec(
        Kind.DISPLAY,
        Display,
        "from_guest",
        {
            "nonce": NONCE,
            "bundle": mapping(text(TO_HOST_CAP_BYTES), 32),
            "metadata": mapping(scalar, 64),
        },
    ),
    Spec(
        Kind.DENIED,
        Denied,
        "from_guest",
        {
            "nonce": NONCE,
            "layer": text(64),
            "tried": text(NAME_CAP),
            "rule": text(NAME_CAP),
            "hint": text(NAME_CAP),
        },
    ),
    Spec(
        Kind.DONE,
        Done,
        "from_guest",
        {
            "nonce": NONCE,
            "ended": word("completed", "raised", "refused"),
            "text": optional_text(TEXT_CAP),
            "error_type": text(NAME_CAP),
            "error_message": text(TEXT_CAP),
            "error_traceback": text(TEXT_CAP),
            "error_errno": whole(0, 4096),
            "refused_line": LINE,
            "in_place": text(NAME_CAP),
            "names": items(
                row(
                    word("added", "changed", "removed"),
                    text(NAME_CAP),
                    text(NAME_CAP),
                    text(NAME_CAP),
                    SIZE,
                ),
                ROWS_CAP,
            ),
        },
    ),
    Spec(
        Kind.CHECKED,
        Checked,
        "from_guest",
        {
            "nonce": NONCE,
            "imports": items(
                row(text(NAME_CAP), LINE, word("allow", "refuse", "log", "kill"), text(NAME_CAP)),
                ROWS_CAP,
            ),
            "refusals": items(row(LINE, text(NAME_CAP), text(NAME_CAP)), ROWS_CAP),
            "syntax_error": text(TEXT_CAP),
        },
    ),
)

BY_KIND = {(spec.direction, int(spec.kind)): spec for spec in SPECS}
BY_CLASS = {spec.cls: spec for spec in SPECS}


_encode = json.JSONEncoder(separators=(",", ":")).encode


def pack(message: Message) -> bytes:
    """The frame of `message`, ready to be written."""
    spec = BY_CLASS[type(message)]
    return encode(spec.kind, _encode(message.__dict__).encode())


def copy_ready_frame(pid: int) -> bytes:
    """What `pack` makes of CopyReady, for a process that must touch few pages."""
    return encode(Kind.COPY_READY, b'{"pid":%d}' % pid)


def ready_frame(pid: int, layers: bytes) -> bytes:
    """What `pack` makes of Ready, for the same reason; `layers` as JSON."""
    return encode(Kind.READY, b'{"pid":%d,"layers":%s}' % (pid, layers))


def unpack(direction: Direction, frame: Frame) -> Message:
    """The message in `frame`. Raises MessageError unless every field is there and in bounds."""
    spec = BY_KIND.get((direction, frame.kind))
    if spec is None:
        raise MessageError(f"kind {frame.kind} is no message {direction.replace('_', ' ')}")
    name = spec.cls.__name__
    try:
        if direction == "from_guest" and len(frame.body) > UNCOUNTED_BYTES:
            _count_structure(frame.body)
        body = frame.body.decode()
        raw, end = _decode(body)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"{name}: body is not JSON ({type(error).__name__})") from None
    if end != len(body) or type(raw) is not dict or raw.keys() != spec.bounds.keys():
        raise MessageError(f"{name}: fields are missing or unknown")
    for field, bound in spec.bounds.items():
        if not bound(raw[field]):
            raise MessageError(f"{name}.{field}: out of bounds")
    # What its constructor comes to, which sets the fields of a frozen class one by one.
    message: Message = object.__new__(spec.cls)
    message.__dict__.update(raw)
    return message


def _count_structure(body: bytes) -> None:
    """Raise ValueError if `body` would make its reader build more than a message has."""
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if without_escapes.count(b'"') > QUOTES_CAP:
        raise ValueError("too many strings")
    if sum(map(len, without_escapes.split(b'"')[::2])) > STRUCTURE_CAP_BYTES:
        raise ValueError("too much outside of strings")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode
"""Without space around the value: neither side puts any there."""


# A row for every field of every class, or the module does not load.
for _spec in SPECS:
    if {_field.name for _field in fields(_spec.cls)} != set(_spec.bounds):
        raise TypeError(f"{_spec.cls.__name__}: bounds and fields differ")
