"""Model: the port that every upstream implements, and what flows through it.

A model streams one turn. Closing the iterator ends the upstream's work at once. Errors are
`UpstreamError`; after the first event nothing is tried again.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from runner.events import ReasoningDelta, TextDelta
from runner.transcript import Entry, Record, Usage


class ToolSpec(Record):
    """A tool as a model is told of it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    strict: bool | None = None
    """Whether arguments must fit `parameters`; None leaves it to the upstream."""


class Sampling(Record):
    """How the next tokens are chosen. What is None is left to the upstream."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    response_format: Mapping[str, JsonValue] | None = None
    passed_on: Mapping[str, JsonValue] = {}
    """Fields of the request that only the model's endpoint knows what to do with."""


ToolChoice = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything that a model needs for its next turn."""

    entries: tuple[Entry, ...]
    model: str = ""
    """The name that the client asked for; an upstream with a name of its own ignores it."""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | str = "auto"
    """Or the name of the tool that must be called."""
    parallel_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    thinking: bool | None = None
    """None leaves it to the upstream."""
    thinking_budget: int | None = None
    effort: str | None = None
    """How hard to think, in OpenAI's words; None leaves it to the upstream."""
    truncates: bool = False
    """Whether the loop may leave out the oldest of the conversation where it does not fit."""
    is_watched: bool = True
    """Whether the client reads the answer as it comes. If not, text may wait until the end."""


UNREADABLE = "unreadable_call"
"""The tool that a call names which was meant as one and could not be read."""


# ---- events of one turn -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of tool call number `index` of the turn; `id` and `name` come with its first."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """What the turn spent so far, or in the end. A later one replaces an earlier one."""

    usage: Usage


FinishReason = Literal["stop", "length", "calls", "filter"]


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The last event of a turn."""

    reason: FinishReason


ModelEvent = ReasoningDelta | TextDelta | CallDelta | UsageSeen | TurnEnded


class Model(Protocol):
    """An upstream that answers with one turn at a time."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the next turn, `TurnEnded` last. Raises UpstreamError."""
        ...

    async def close(self) -> None:
        """Let go of connections and processes."""
        ...


class Profile(Record):
    """What one model needs beyond the wire to do well in the loop."""

    system: str = ""
    """Put before the conversation's own instructions."""
    examples: tuple[Entry, ...] = ()
    """Put before the conversation, where each tool that they call is offered."""
    temperature: float | None = None
    """Used when the client names none."""
    max_tokens: int | None = None
    rounds: int | None = None
    retry_words: str = ""
    """Added to what the model is shown of a call that failed or printed nothing."""
    shown_chars: int | None = None
    """The most that the model is shown of a result, where that is less than others may be."""

    def shown(self, chars: int) -> int:
        """How much of a result the model is shown where others are shown `chars`."""
        return chars if self.shown_chars is None else min(chars, self.shown_chars)
