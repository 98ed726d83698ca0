"""The two corpora as data: attacks that must be contained, ordinary uses that must not be.

An attack's first line says, for each tier, which layer must stop it and how the run must end:

    # namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES

or, where the tiers do not differ,

    # any tier: host -> limit_exceeded wall_s

After the arrow stands the outcome: `completed`, `raised TYPE`, `limit_exceeded LIMIT`,
`died SIGNAL`, `died exit CODE`, or `fault`, the end of a session that broke the protocol; two
with an `or` between them where hosts differ, a cgroup here and a meter there. After the
comma stands what the attack itself must report as `contained: ...`: every reason that it
meets must be one of those between the slashes. An attack that ruins its own interpreter may end in
several ways; `*` stands for any text. Comment lines below it may add:

    # bare: escapes                what it must do where there is no jail: the positive control
    # limits: wall_s=0.3           limits of the call
    # fresh: CODE -> TEXT          what a session must echo that starts afterwards
    # sibling: CODE -> TEXT        what a session must echo that lived beside it
    # get: PATH -> ANSWER          what reading a file back must give: its text, `refused`, `any`
    # put: PATH -> ANSWER          what writing a file must come to: `written`, `refused`
    # needs: PATH or MACHINE       where it can be tried at all

An ordinary use says what it `uses`, then what it must print (`out`), echo (`text`), show
(`shows`) and leave (`file`), what it reads (`stdin`), and in which `tiers` it is promised.
A line `# %%` cuts either into snippets that run one after the other in one session.
"""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sandbox.protocol.plan import LAYERS

Tier = Literal["namespaces", "landlock"]
TIERS: tuple[Tier, ...] = get_args(Tier)
HERE = Path(__file__).parent
CATEGORIES = (
    "files",
    "network",
    "processes",
    "memory",
    "output",
    "time",
    "privileges",
    "objects",
    "results",
)
DEFENCES = frozenset(LAYERS) | {
    "host",  # clocks, kills and the end of a session
    "protocol",  # bounds and order of messages
    "output_cap",
    "cgroup_or_meter",
    "tmpfs_size",
    "meter",
    "file_reader",  # how the host reads a workspace
    "descriptors",  # what a session inherits
    "zygote",  # what a session is forked from
}
"""Layers that a plan names, and the parts of the engine that hold without one."""

DIRECTIVE = re.compile(r"# (\w+|any tier): (.*)")
CELL = re.compile(r"^# %%.*$", re.MULTILINE)
CAPITALS = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


class CorpusError(ValueError):
    """A file of a corpus does not say what it must."""


@dataclass(frozen=True)
class Expected:
    """How an attack must end in one tier."""

    layer: str
    endings: tuple[str, ...]
    """One, or more where hosts differ."""
    reasons: frozenset[str]
    """What it may report; empty when it reports nothing."""


@dataclass(frozen=True)
class Echo:
    """A snippet and the echo that it must give."""

    code: str
    text: str


@dataclass(frozen=True)
class Attack:
    """One escape."""

    name: str
    snippets: tuple[str, ...]
    expected: Mapping[Tier, Expected]
    escapes_bare: bool
    limits: Mapping[str, float]
    fresh: tuple[Echo, ...]
    sibling: tuple[Echo, ...]
    written: tuple[tuple[str, str], ...]
    read: tuple[tuple[str, str], ...]

    @property
    def category(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Use:
    """One ordinary program."""

    name: str
    snippets: tuple[str, ...]
    uses: str
    tiers: tuple[Tier, ...]
    stdout: str
    text: str | None
    shows: tuple[str, ...]
    files: tuple[str, ...]
    stdin: str | None


def attacks() -> list[Attack]:
    """Every attack that this machine can try, by name. Raises CorpusError."""
    return [_attack(name, source) for name, source in _sources("attacks") if _can_try(source)]


def uses() -> list[Use]:
    """Every ordinary use, by name. Raises CorpusError."""
    return [_use(name, source) for name, source in _sources("benign")]


def prelude() -> str:
    """What stands before every attack."""
    return (HERE / "attacks" / "prelude.py").read_text()


def armed(snippet: str, constants: Mapping[str, object]) -> str:
    """`snippet` with the prelude and those of `constants` that it names."""
    named = set(CAPITALS.findall(snippet))
    lines = [f"{name} = {value!r}" for name, value in constants.items() if name in named]
    return "\n".join([f"FOE = {foe()!r}", prelude(), *lines, snippet])


def foe() -> str:
    """What processes of this test process's attacks call themselves; others run beside it."""
    return f"foe-{os.getpid()}"


# ---- reading ------------------------------------------------------------------------------------


def _sources(folder: str) -> Iterator[tuple[str, str]]:
    base = HERE / folder
    for path in sorted(base.glob("*/*.py")):
        yield path.relative_to(base).with_suffix("").as_posix(), path.read_text()


def _directives(name: str, source: str) -> list[tuple[str, str]]:
    """The leading comment lines that have a known form, in order."""
    found = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        match = DIRECTIVE.fullmatch(line)
        if match:
            found.append((match[1], match[2]))
    if not found:
        raise CorpusError(f"{name}: says nothing about itself")
    return found


def _can_try(source: str) -> bool:
    wants = [value for key, value in _directives("", source) if key == "needs"]
    return all(os.path.exists(want) or platform.machine() == want for want in wants)


def _attack(name: str, source: str) -> Attack:
    first, _, _ = source.partition("\n")
    expected = {}
    for part in first.removeprefix("# ").split(" | "):
        word, _, rest = part.partition(": ")
        for tier in TIERS:
            if word in (tier, "any tier"):
                expected[tier] = _expected(name, rest)
    if set(expected) != set(TIERS):
        raise CorpusError(f"{name}: the first line must speak of {', '.join(TIERS)}")
    rest_of = _directives(name, source)[1:]
    unknown = {key for key, _ in rest_of} - {
        "bare",
        "limits",
        "fresh",
        "sibling",
        "put",
        "get",
        "needs",
    }
    if unknown:
        raise CorpusError(f"{name}: unknown directives {sorted(unknown)}")
    return Attack(
        name=name,
        snippets=tuple(CELL.split(source)),
        expected=expected,
        escapes_bare=("bare", "escapes") in rest_of,
        limits=dict(
            _limit(pair) for value in _all(rest_of, "limits") for pair in value.split(", ")
        ),
        fresh=tuple(_echo(name, value) for value in _all(rest_of, "fresh")),
        sibling=tuple(_echo(name, value) for value in _all(rest_of, "sibling")),
        written=tuple(_pair(name, value) for value in _all(rest_of, "put")),
        read=tuple(_pair(name, value) for value in _all(rest_of, "get")),
    )


def _expected(name: str, text: str) -> Expected:
    layer, arrow, rest = text.partition(" -> ")
    if not arrow or layer not in DEFENCES:
        raise CorpusError(f"{name}: {layer!r} is no layer")
    endings, _, reasons = rest.partition(", ")
    known = frozenset(filter(None, reasons.split("/")))
    return Expected(layer, tuple(endings.split(" or ")), known)


def _use(name: str, source: str) -> Use:
    found = _directives(name, source)
    unknown = {key for key, _ in found} - {"uses", "out", "text", "shows", "file", "tiers", "stdin"}
    if unknown or found[0][0] != "uses":
        raise CorpusError(f"{name}: must say first what it uses; unknown {sorted(unknown)}")
    tiers = _all(found, "tiers")
    texts, inputs = _all(found, "text"), _all(found, "stdin")
    lines = _all(found, "out")
    return Use(
        name=name,
        snippets=tuple(CELL.split(source)),
        uses=found[0][1],
        tiers=tuple(tier for tier in TIERS if not tiers or tier in tiers[0]),
        stdout="".join(line.replace("\\r", "\r") + "\n" for line in lines),
        text=texts[0] if texts else None,
        shows=_all(found, "shows"),
        files=_all(found, "file"),
        stdin=inputs[0].replace("\\n", "\n") if inputs else None,
    )


def _all(directives: list[tuple[str, str]], wanted: str) -> tuple[str, ...]:
    return tuple(value for key, value in directives if key == wanted)


def _pair(name: str, text: str) -> tuple[str, str]:
    left, arrow, right = text.rpartition(" -> ")
    if not arrow:
        raise CorpusError(f"{name}: {text!r} has no arrow")
    return left, right


def _echo(name: str, text: str) -> Echo:
    return Echo(*_pair(name, text))


def _limit(pair: str) -> tuple[str, float]:
    key, _, value = pair.partition("=")
    return key, float(value)
