"""What the loop tells of a request as it happens. The last one is `Ended`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runner.transcript import ToolCall, ToolResult, Turn, Usage

Ending = Literal[
    "answered", "client_calls", "length", "filter", "rounds", "tokens", "deadline", "calls"
]
"""Why the loop stopped. "calls", "rounds" and "tokens" are budgets of the request."""


@dataclass(frozen=True, slots=True)
class RoundBegan:
    number: int


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """The model began to write a call; its arguments follow."""

    call_id: str
    tool: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """A piece of the arguments' text, as the model writes it."""

    call_id: str
    piece: str


@dataclass(frozen=True, slots=True)
class CallRunning:
    """The call is whole and starts to run now."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallDone:
    call: ToolCall
    result: ToolResult


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event. `turns` are what the conversation gained, `counts` the calls per tool."""

    ending: Ending
    usage: Usage
    counts: Mapping[str, int]
    turns: tuple[Turn, ...]


LoopEvent = (
    RoundBegan
    | ReasoningDelta
    | TextDelta
    | CallBegan
    | ArgumentsDelta
    | CallRunning
    | CallDone
    | Ended
)
