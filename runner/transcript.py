"""The neutral record of a conversation: what was asked, thought, called, run and answered.

Dialects translate to and from it, models read it, the loop writes it. It is plain data, so a
stored conversation can be read back after a restart.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter


class Record(BaseModel):
    """Base of what a conversation is made of: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- amounts ------------------------------------------------------------------------------------


class Usage(Record):
    """Tokens, of one round or summed over rounds. Reasoning is part of the output."""

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


# ---- calls and their results --------------------------------------------------------------------


class ToolCall(Record):
    """What the model asked for; `arguments` is the text that it wrote, JSON or not."""

    id: str
    name: str
    arguments: str = ""


class MadeFile(Record):
    """A file that a snippet made or changed. `file_id` is empty where files are not kept."""

    path: str
    """From the root of the workspace, which the guest sees at /mnt/data."""
    size_bytes: int = 0
    mime: str = "application/octet-stream"
    file_id: str = ""
    not_kept: str = ""
    """Why it is only in the session and cannot be fetched later, where others can."""


class CodeRun(Record):
    """One run of one snippet, whole."""

    kind: Literal["code"] = "code"
    code: str
    container_id: str = ""
    stdout: str = ""
    stderr: str = ""
    text: str | None = None
    """The echo of a last bare expression."""
    traceback: str = ""
    notice: str = ""
    """Why there is no ordinary result: a limit, a crash, a refusal."""
    status: Literal["completed", "raised", "limit_exceeded", "died", "refused", "failed"] = (
        "completed"
    )
    images: tuple[str, ...] = ()
    """Data URLs, in the order shown."""
    files: tuple[MadeFile, ...] = ()
    more: Mapping[str, JsonValue] = {}
    """What a person may want to see beside the output: tables, the bill, refusals, layers."""

    @property
    def logs(self) -> str:
        """All that a reader of the run would see: the streams, the echo, how it ended."""
        parts = (self.stdout, self.stderr, self.text or "", self.traceback, self.notice)
        joined = ""
        for part in parts:
            if part:
                joined += part if not joined or joined.endswith("\n") else f"\n{part}"
        return joined

    @property
    def could_not_run(self) -> bool:
        """Whether the sandbox, not the snippet's own Python, ended it."""
        return self.status in ("limit_exceeded", "died", "failed")


class Source(Record):
    """A page that a search found."""

    url: str
    title: str = ""
    snippet: str = ""


class Search(Record):
    """One search of the web or of a local index."""

    kind: Literal["search"] = "search"
    query: str
    sources: tuple[Source, ...] = ()


class Extraction(Record):
    """What was taken out of pages."""

    kind: Literal["extraction"] = "extraction"
    urls: tuple[str, ...] = ()
    goal: str = ""
    output: str = ""


class McpRun(Record):
    """One call of a tool of an MCP server: all of what it said, or as much as is kept."""

    kind: Literal["mcp"] = "mcp"
    label: str
    tool: str
    output: str = ""


class NoDetails(Record):
    """A call that reached no tool: an unknown name, arguments that cannot be read, no budget."""

    kind: Literal["none"] = "none"


Details = Annotated[CodeRun | Search | Extraction | McpRun | NoDetails, Field(discriminator="kind")]


class ToolResult(Record):
    """The end of a tool call: `shown` is what the model reads, `details` the whole."""

    call_id: str
    tool: str
    shown: str
    is_error: bool = False
    details: Details = NoDetails()


# ---- entries ------------------------------------------------------------------------------------


class Instruction(Record):
    """Words of the owner of the conversation that stand above it."""

    role: Literal["system"] = "system"
    text: str
    name: str = ""
    """Which of several owners it is."""


class Question(Record):
    """Words of the user, with pictures as URLs."""

    role: Literal["user"] = "user"
    text: str
    images: tuple[str, ...] = ()
    parts: tuple[Mapping[str, JsonValue], ...] = ()
    """All of it in the order of its writer, in the form of Chat Completions. Empty where that is
    the text and then the images."""
    name: str = ""
    """Which of several users it is."""


class Turn(Record):
    """One answer of the model and the results of the calls in it."""

    role: Literal["assistant"] = "assistant"
    name: str = ""
    """Which of several assistants it is."""
    reasoning: str = ""
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()


class FunctionResult(Record):
    """The result of a function call that the client itself ran."""

    role: Literal["tool"] = "tool"
    call_id: str
    text: str


Entry = Annotated[Instruction | Question | Turn | FunctionResult, Field(discriminator="role")]
Transcript = tuple[Entry, ...]

_TRANSCRIPT: TypeAdapter[Transcript] = TypeAdapter(Transcript)


def transcript_to_json(entries: Transcript) -> str:
    """`entries` as one line of JSON."""
    return _TRANSCRIPT.dump_json(entries).decode()


def transcript_from_json(text: str | bytes) -> Transcript:
    """The transcript in `text`. Raises ValueError."""
    return _TRANSCRIPT.validate_json(text)


def with_result(entries: Sequence[Entry], result: ToolResult) -> tuple[Entry, ...]:
    """`entries` with the result of a call that stands among them."""
    return tuple(
        entry.model_copy(update={"results": (*entry.results, result)})
        if isinstance(entry, Turn) and any(call.id == result.call_id for call in entry.calls)
        else entry
        for entry in entries
    )


# ---- text that JSON and UTF-8 can hold ----------------------------------------------------------


def encodable(text: str) -> str:
    """`text` with lone surrogates escaped: a model may write some, no encoder takes them."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def compact(value: object) -> str:
    """`value` as JSON on one line, without spaces, Unicode as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
