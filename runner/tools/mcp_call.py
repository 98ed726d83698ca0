"""A tool of an MCP server that the model calls itself, beside those that snippets call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from runner.models.port import ToolSpec
from runner.tools.arguments import read
from runner.tools.shown import shorten
from runner.transcript import McpRun, ToolCall, ToolResult

OUTPUT_CHARS = 256 * 1024
"""Of a result, in the item that the client gets."""
EMPTY = "[the tool gave nothing]"


class McpAnswer(NamedTuple):
    """What a server said to one call."""

    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class McpToolFacts:
    """A tool as its server lists it."""

    name: str
    description: str
    input_schema: Mapping[str, JsonValue]
    annotations: Mapping[str, JsonValue] | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether the server says that the tool changes nothing."""
        return (self.annotations or {}).get("readOnlyHint") is True


class McpServer(Protocol):
    """A server that is connected."""

    @property
    def listed(self) -> tuple[McpToolFacts, ...]:
        """Its tools."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it can be called."""
        ...

    async def call(self, name: str, arguments: Mapping[str, JsonValue]) -> McpAnswer:
        """Call a tool; an error of the server is an answer."""
        ...


class McpCall:
    """The tool of one request: so many calls, so much shown."""

    def __init__(
        self,
        server: McpServer,
        facts: McpToolFacts,
        *,
        name: str,
        label: str,
        about: str,
        most: int,
        shown_chars: int,
    ) -> None:
        """`name` is the model's, `about` a client's words of the server."""
        self._server = server
        self._facts = facts
        self._label = label
        self._left = self._most = most
        self._shown_chars = shown_chars
        described = facts.description or facts.name
        description = f"{described}\n({label}: {about})" if about else described
        self._spec = ToolSpec(name=name, description=description, parameters=facts.input_schema)

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    def aliases(self) -> frozenset[str]:
        return frozenset()

    async def run(self, call: ToolCall) -> ToolResult:
        if self._left <= 0:
            problem = f"Not run: this request has called the tool {self._most} times, its limit."
            return self._result(call, McpAnswer(problem, is_error=True))
        arguments: Mapping[str, JsonValue] = {}
        if call.arguments.strip():
            found = read(call.arguments, main=self._first)
            if found.problem:
                return self._result(call, McpAnswer(found.problem, is_error=True))
            arguments = found.values
        self._left -= 1
        return self._result(call, await self._server.call(self._facts.name, arguments))

    async def close(self) -> None:
        """Return the server is the config's, and outlives the request."""

    @property
    def _first(self) -> str:
        """The argument that a bare text can only mean."""
        properties = self._facts.input_schema.get("properties")
        return next(iter(properties), "") if isinstance(properties, dict) else ""

    def _result(self, call: ToolCall, answer: McpAnswer) -> ToolResult:
        return ToolResult(
            call_id=call.id,
            tool=call.name,
            shown=shorten(answer.text, self._shown_chars) or EMPTY,
            is_error=answer.is_error,
            details=McpRun(
                label=self._label,
                tool=self._facts.name,
                output=shorten(answer.text, OUTPUT_CHARS),
            ),
        )
