"""MCP in requests: which servers of the config a response may use, what needs approval first."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pydantic import JsonValue

from runner.dialects.fields import Fields
from runner.dialects.schema_fields import DIRECT, NOT_HERE, Refusal, refuse
from runner.errors import RequestError
from runner.transcript import Entry, ToolCall, ToolResult, Turn, with_result

SERVERS_MOST = 16
REASON_CHARS = 1000
DESCRIPTION_CHARS = 300
NAME_CHARS = 64
"""As endpoints take a function's name."""
NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
OWNERS = "is not supported by this server: its owner's config says how a server is reached"
REFUSED: Mapping[str, Refusal] = {
    "allowed_callers": Refusal(f"{NOT_HERE}: these tools are called by the model", DIRECT),
    "authorization": Refusal(OWNERS),
    "connector_id": Refusal(OWNERS),
    "defer_loading": Refusal(NOT_HERE, (False,)),
    "headers": Refusal(OWNERS, ({},)),
    "tunnel_id": Refusal(OWNERS),
}
NOT_APPROVED = "Not run: the user did not approve this call."


class ToolFilter(NamedTuple):
    """Some tools of a server; None takes any."""

    names: frozenset[str] | None = None
    read_only: bool | None = None

    def takes(self, name: str, *, is_read_only: bool) -> bool:
        """Whether a tool is one of them."""
        if self.names is not None and name not in self.names:
            return False
        return self.read_only is None or self.read_only == is_read_only


ANY = ToolFilter()


@dataclass(frozen=True, slots=True)
class McpRequest:
    """A server that a request names; `path` is the field, for messages."""

    label: str
    path: str
    url: str = ""
    description: str = ""
    allowed: ToolFilter = ANY
    always: ToolFilter | None = ANY
    never: ToolFilter | None = None

    def asks(self, name: str, *, is_read_only: bool) -> bool:
        """Whether a call of the tool waits for approval."""
        if self.always is not None and self.always.takes(name, is_read_only=is_read_only):
            return True
        return self.never is None or not self.never.takes(name, is_read_only=is_read_only)

    @property
    def may_ask(self) -> bool:
        """Whether any call might wait for approval."""
        return self.always is not None or self.never != ANY


@dataclass(frozen=True, slots=True)
class Approval:
    """What a client said to a request for approval."""

    approve: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class McpNamed:
    """What a function stands for: a tool of a server, by the label that the client gave it."""

    label: str
    tool: str


@dataclass(frozen=True, slots=True)
class McpListed:
    """A server's tools as the client is told of them, or why there are none."""

    label: str
    tools: Sequence[Mapping[str, JsonValue]]
    error: str = ""


@dataclass(frozen=True, slots=True)
class McpOffer:
    """What one response has of MCP servers, by the names of the model's functions."""

    names: Mapping[str, McpNamed] = field(default_factory=dict)
    asking: frozenset[str] = frozenset()
    """Functions that wait for approval."""
    approved: frozenset[str] = frozenset()
    """Calls of earlier responses that run first."""
    lists: tuple[McpListed, ...] = ()


def function_name(label: str, tool: str) -> str:
    """The function that the model has for a tool: the same in each response."""
    name = NO_NAME.sub("_", f"{label}_{tool}")
    if len(name) <= NAME_CHARS:
        return name
    return f"{name[: NAME_CHARS - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def mcp_request(tool: Fields, earlier: Sequence[McpRequest]) -> McpRequest:
    """The server that an entry of `tools` names. Raises RequestError."""
    refuse(tool, REFUSED)
    label = tool.text("server_label", longest=NAME_CHARS)
    if not label:
        raise tool.wrong("server_label", "is missing")
    if label in {one.label for one in earlier}:
        raise tool.wrong("server_label", "is there twice")
    if len(earlier) >= SERVERS_MOST:
        raise tool.wrong("type", f"names more than {SERVERS_MOST} servers")
    made = McpRequest(
        label,
        tool.name("type"),
        url=tool.text("server_url", longest=4096) or "",
        description=(tool.text("server_description") or "")[:DESCRIPTION_CHARS],
        allowed=_allowed(tool),
    )
    return _with_approval(tool, made)


def _allowed(tool: Fields) -> ToolFilter:
    if isinstance(tool.data.get("allowed_tools"), dict):
        found = tool.object("allowed_tools")
        assert found is not None
        return _filter(found)
    if not tool.has("allowed_tools"):
        return ANY
    return ToolFilter(frozenset(tool.strings("allowed_tools")))


def _filter(given: Fields) -> ToolFilter:
    names = frozenset(given.strings("tool_names")) if given.has("tool_names") else None
    return ToolFilter(names, given.flag("read_only"))


def _with_approval(tool: Fields, made: McpRequest) -> McpRequest:
    """As OpenAI's: what is not said needs approval."""
    given = tool.data.get("require_approval")
    if isinstance(given, dict):
        fields = tool.object("require_approval")
        assert fields is not None
        always, never = fields.object("always"), fields.object("never")
        return replace(
            made,
            always=None if always is None else _filter(always),
            never=None if never is None else _filter(never),
        )
    word = tool.text("require_approval") or "always"
    if word not in ("always", "never"):
        raise tool.wrong("require_approval", "must be always, never or an object of filters")
    return made if word == "always" else replace(made, always=None, never=ANY)


def approval_of(item: Fields) -> tuple[str, Approval]:
    """The id of a request for approval, and the answer to it. Raises RequestError."""
    asked = item.text("approval_request_id")
    if not asked:
        raise item.wrong("approval_request_id", "is missing")
    approve = item.flag("approve")
    if approve is None:
        raise item.wrong("approve", "is missing")
    return asked, Approval(approve, (item.text("reason") or "")[:REASON_CHARS])


# ---- calls that wait ----------------------------------------------------------------------------


def waiting(entries: Sequence[Entry]) -> dict[str, ToolCall]:
    """Calls that wait for approval, by the ids of the requests for it."""
    return {
        call.id: call
        for entry in entries
        if isinstance(entry, Turn)
        for call in entry.calls
        if call.id.startswith("mcpr_") and call.id not in {one.call_id for one in entry.results}
    }


def settled(
    entries: Sequence[Entry], approvals: Mapping[str, Approval], functions: Mapping[str, McpNamed]
) -> tuple[Entry, ...]:
    """`entries` in which only approved calls of `functions` wait still. Raises RequestError."""
    open_calls = waiting(entries)
    found = tuple(entries)
    for asked, approval in approvals.items():
        call = open_calls.pop(asked, None)
        if call is None:
            raise RequestError(
                "invalid",
                f"The mcp_approval_response answers {asked[:100]!r}, and no call waits by this id.",
                param="input",
            )
        if not approval.approve:
            said = f" The reason: {approval.reason}" if approval.reason else ""
            found = with_result(found, _refused(call, NOT_APPROVED + said))
        elif call.name not in functions:
            raise RequestError(
                "invalid",
                f"The approved call {asked[:100]!r} is of {call.name[:100]!r}, which no server in"
                " tools has: name the same server again.",
                param="tools",
            )
    for call in open_calls.values():
        found = with_result(found, _refused(call, NOT_APPROVED))
    return found


def _refused(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call_id=call.id, tool=call.name, shown=why, is_error=True)
