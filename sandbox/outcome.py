"""Outcome: how a snippet ended and what it left behind. One class per ending, told by `status`.

What the engine itself failed to do is an exception of `errors`, never an outcome.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter

from sandbox.errors import PolicyError
from sandbox.outcome_text import Part, as_on_a_terminal, fit
from sandbox.protocol.plan import Tier


def _utf8(value: object) -> object:
    """Escape lone surrogates: text from a guest may hold some, JSON and UTF-8 cannot."""
    return utf8(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_utf8)]
"""A string that a guest had a hand in."""

Limit = Literal["wall_s", "cpu_s", "memory_bytes", "output_bytes", "processes", "disk_bytes"]
State = Literal["kept", "rolled_back", "lost"]
"""Of the session's variables: as the snippet left them, as they were before it, or gone."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=_Record)


def filled(template: R, fields: Mapping[str, Any]) -> R:
    """A copy of `template` with `fields`, which are not validated: the engine has made them."""
    made = template.__class__.__new__(template.__class__)
    made.__setstate__(
        {
            "__dict__": {**template.__dict__, **fields},
            "__pydantic_fields_set__": {*fields},
            "__pydantic_extra__": None,
            "__pydantic_private__": None,
        }
    )
    return made


def utf8(text: str) -> str:
    """`text` of a guest as a field has it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Artifact(_Record):
    """A file of the workspace that a snippet made, changed or deleted; `path` from its root."""

    path: Text
    size_bytes: int = Field(ge=0)
    mime: Text
    sha256: str | None
    """None for a deleted file and above the size that is hashed."""
    change: Literal["made", "changed", "deleted"] = "made"


class Usage(_Record):
    """What a snippet spent, its child processes included."""

    wall_s: float = Field(default=0.0, ge=0)
    cpu_user_s: float = Field(default=0.0, ge=0)
    cpu_system_s: float = Field(default=0.0, ge=0)
    peak_memory_bytes: int = Field(default=0, ge=0)
    copies_memory_bytes: int = Field(default=0, ge=0)
    """What only copies of the session held, beside that; told where it was more than little."""
    written_bytes: int = Field(default=0, ge=0)
    processes: int = Field(default=0, ge=0)
    """The most that lived at one time."""
    start_s: float = Field(default=0.0, ge=0)
    """From the call to the hand-over of the code: a worker made or taken, a copy made."""
    host_s: float = Field(default=0.0, ge=0)
    """Of the wall time, what host functions took: the snippet's clock stood still."""
    requests: int = Field(default=0, ge=0)
    """Requests and tunnels that the proxy let through."""
    sent_bytes: int = Field(default=0, ge=0)
    received_bytes: int = Field(default=0, ge=0)


class Denial(_Record):
    """Something that a layer refused while the snippet went on, or that ended it."""

    layer: Text
    tried: Text
    rule: Text
    hint: Text = ""
    line: int = Field(default=0, ge=0)
    """Of the snippet, as far as the guest says; 0 where no line is known."""
    arguments: dict[Text, Text] = {}
    """What was tried, decoded: such as path and mode, or family, address and port."""
    allow_with: Text = ""
    """The smallest change of policy that would allow it, as TOML; empty for none."""
    sentence: Text = ""
    """The same in one sentence for a model."""
    count: int = Field(default=1, ge=1)
    """How often; repetitions are counted, not listed."""
    is_guests_word: bool = False
    """Whether it was seen inside the interpreter, which a hostile snippet can disarm."""


class Attempt(_Record):
    """Something that a snippet tried, whether it was allowed or refused.

    Listed under `Policy(trace=True)` and by `cellblock run --explain`.
    """

    layer: Text
    action: Text
    """What kind: such as "import", "read", "write", "program", "connect", "signal"."""
    tried: Text
    arguments: dict[Text, Text] = {}
    line: int = Field(default=0, ge=0)
    is_allowed: bool
    rule: Text = ""
    allow_with: Text = ""
    sentence: Text = ""
    is_guests_word: bool = False
    """Whether it was seen inside the interpreter, which a hostile snippet can disarm."""
    count: int = Field(default=1, ge=1)


class Verdict(_Record):
    """What a reviewer is told first: how grave it was, and why. It never says "safe"."""

    severity: Literal["note", "warning", "danger"]
    reason: Text


class ToolFailure(_Record):
    """What a host function raised, as the snippet was told."""

    type: Text
    message: Text


class HostCall(_Record):
    """One call of a host function by a snippet; exactly one of `result` and `error` counts."""

    name: Text
    arguments: dict[Text, JsonValue] = {}
    result: JsonValue = None
    error: ToolFailure | None = None
    began_s: float = Field(default=0.0, ge=0)
    """Since the snippet was handed over."""
    wall_s: float = Field(default=0.0, ge=0)


class StreamCut(_Record):
    """How much of one stream was kept and how much was left out."""

    kept_bytes: int = Field(default=0, ge=0)
    dropped_bytes: int = Field(default=0, ge=0)


class Truncated(_Record):
    stdout: StreamCut = StreamCut()
    stderr: StreamCut = StreamCut()


class NameChange(_Record):
    """A session variable that the snippet added, changed or removed; `size` as shape or length."""

    change: Literal["added", "changed", "removed"]
    name: Text
    type: Text
    size: Text
    size_bytes: int = Field(ge=0)


class ErrorInfo(_Record):
    """The exception that ended a snippet; the traceback shows guest frames only."""

    type: Text
    message: Text
    traceback: Text
    exit_code: int | None = None
    """Of `SystemExit` what a script would end with: of `sys.exit(3)` 3, of `sys.exit("3")` 1."""
    exit_text: Text | None = None
    """What a script would write to stderr as it ends by `SystemExit`; None for nothing."""


class ExecResult(_Record):
    """How a command ended that ran beside the interpreter; its streams as bytes."""

    exit_code: int | None
    """As a shell sees it; None when a signal ended the command."""
    signal: str | None = None
    timed_out: bool = False
    limit: Literal["wall_s", "output_bytes"] | None = None
    """The limit that it was ended for."""
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: Truncated = Truncated()
    usage: Usage = Usage()

    @property
    def text(self) -> str:
        """What it wrote to stdout, with bytes replaced that are no UTF-8."""
        return self.stdout.decode("utf-8", "replace")


class Ended(_Record):
    """What every outcome has."""

    stdout: Text = ""
    stderr: Text = ""
    text: Text | None = None
    """The echo of a last bare expression, as a REPL shows it."""
    displays: tuple[dict[Text, Text], ...] = ()
    """MIME bundles in the order shown; binary types as base64."""
    artifacts: tuple[Artifact, ...] = ()
    usage: Usage = Usage()
    denials: tuple[Denial, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    verdict: Verdict | None = None
    """Set by `cellblock run --explain` alone."""
    tool_calls: tuple[HostCall, ...] = ()
    """Calls of host functions, in the order in which they began."""
    truncated: Truncated = Truncated()
    state: State = "kept"
    survives: bool = True
    """Whether variables outlive a kill: of this snippet, and of one that follows it now."""
    survives_reason: str = ""
    """Why not; empty when they do."""
    names: tuple[NameChange, ...] = ()
    hints: tuple[Text, ...] = ()
    """What would make such a snippet faster, for the owner of the policy."""
    files_left: tuple[Text, ...] = ()
    """Of a session that was lost: paths of its files, a hundred at most. The next call has them."""
    tier: Tier
    layers: tuple[str, ...]
    """Names of the layers that held while the snippet ran."""

    def for_model(self, *, max_chars: int = 8_000) -> str:
        """Give the outcome as text for a model, in at most `max_chars` characters.

        How it ended comes first, then the error with the snippet's own frames, the value, what
        was printed and what was refused. Each part is cut in its middle, and says so. The least
        budget is 200.
        """
        if not isinstance(max_chars, int) or isinstance(max_chars, bool):
            problem = f"is {str(max_chars)[:100]!r}, of type {type(max_chars).__name__}"
            raise PolicyError("max_chars", problem, "Give a whole number of characters")
        return fit(_parts(self), max_chars)


class Completed(Ended):
    """Ran to its end."""

    status: Literal["completed"] = "completed"


class Raised(Ended):
    """Ended by a Python exception."""

    status: Literal["raised"] = "raised"
    error: ErrorInfo


class LimitExceeded(Ended):
    """Ended because it went over one of its limits; both numbers in the limit's unit."""

    status: Literal["limit_exceeded"] = "limit_exceeded"
    limit: Limit
    allowed: float
    observed: float


class Died(Ended):
    """Its process ended in another way: by an exit code, or by a signal such as "SIGSEGV"."""

    status: Literal["died"] = "died"
    exit_code: int | None = None
    signal: str | None = None


class Refused(Ended):
    """The policy refused it before anything ran; `line` is 0 when no one line is at fault."""

    status: Literal["refused"] = "refused"
    reason: Text
    line: int = Field(default=0, ge=0)


Outcome = Annotated[
    Completed | Raised | LimitExceeded | Died | Refused, Field(discriminator="status")
]
_ADAPTER: TypeAdapter[Outcome] = TypeAdapter(Outcome)

EXIT_STATUS = {
    "completed": 0,
    "raised": 1,
    "limit_exceeded": 124,
    "refused": 126,
    "died": 137,
}
"""What `cellblock run` exits with."""


def exit_status(outcome: Outcome) -> int:
    """The exit status of a command that ran one snippet; no snippet can pose as another ending."""
    if isinstance(outcome, Raised) and outcome.error.exit_code == 0:
        return 0
    return EXIT_STATUS[outcome.status]


def outcome_to_json(outcome: Outcome) -> str:
    """`outcome` as one JSON object on one line."""
    return outcome.model_dump_json()


def outcome_from_json(data: str | bytes) -> Outcome:
    """The outcome in `data`. Raises ValueError when a field is missing, unknown or wrong."""
    return _ADAPTER.validate_json(data)


# ---- as text ------------------------------------------------------------------------------------

FILES_NAMED = 20
DENIALS_NAMED = 10


def _parts(outcome: Ended) -> Iterator[Part]:
    yield Part("", _ending(outcome), 4)
    if isinstance(outcome, Raised):
        yield Part("", outcome.error.traceback.strip(), 4)
    yield Part("value: ", outcome.text or "", 3)
    yield Part("stdout:\n", as_on_a_terminal(outcome.stdout), 3)
    yield Part("stderr:\n", as_on_a_terminal(outcome.stderr), 2)
    shown = ", ".join("/".join(sorted(bundle)) for bundle in outcome.displays)
    yield Part("displayed: ", shown, 1)
    files = [f"{one.path} ({one.change})" for one in outcome.artifacts]
    more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
    yield Part("files: ", ", ".join(files[:FILES_NAMED]) + more, 1)
    refused = [
        one.sentence or f"{one.tried}: refused by {one.layer} ({one.hint or one.rule})"
        for one in outcome.denials
    ]
    more = f"\nand {len(refused) - DENIALS_NAMED} more" if len(refused) > DENIALS_NAMED else ""
    yield Part("refused:\n", "\n".join(refused[:DENIALS_NAMED]) + more, 2)
    if outcome.state != "kept":
        stay = " Files are still there." if outcome.files_left else ""
        yield Part("", STATES[outcome.state] + stay, 1)


STATES = {
    "rolled_back": "The variables are as they were before this snippet.",
    "lost": "The variables are gone.",
}


def _ending(outcome: Ended) -> str:
    if isinstance(outcome, Raised):
        return f"raised {outcome.error.type}: {outcome.error.message}"
    if isinstance(outcome, LimitExceeded):
        return f"ended: {outcome.limit} is limited to {outcome.allowed:g}"
    if isinstance(outcome, Died):
        how = outcome.signal or f"exit code {outcome.exit_code}"
        return f"the process died: {how}"
    if isinstance(outcome, Refused):
        where = f" (line {outcome.line})" if outcome.line else ""
        return f"refused before it ran{where}: {outcome.reason}"
    return "completed"
