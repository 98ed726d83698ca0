"""MCP in responses: lists of tools, requests for approval and calls, as items and events."""

from collections.abc import Callable, Iterator

from runner.dialects.response_items.item_stream import ItemStream, Json, OpenItem
from runner.dialects.response_items.mcp_requests import McpListed, McpOffer
from runner.transcript import McpRun, ToolCall, ToolResult

APPROVAL = "mcp_approval_request"


class McpItems:
    """The items of one response, written into its stream."""

    def __init__(self, stream: ItemStream, offer: McpOffer, new_id: Callable[[str], str]) -> None:
        self._stream = stream
        self._offer = offer
        self._new_id = new_id
        self._unlisted = list(offer.lists)

    def lists(self) -> Iterator[Json]:
        """Events of the lists of tools, once."""
        while self._unlisted:
            yield from self._list(self._unlisted.pop(0))

    def has(self, function: str) -> bool:
        """Whether the function is a server's tool."""
        return function in self._offer.names

    def begin(self, function: str, call_id: str) -> tuple[OpenItem, list[Json]]:
        """Open the item of a call, which may be a request for its approval."""
        named = self._offer.names[function]
        is_approved = call_id in self._offer.approved
        is_asking = function in self._offer.asking and not is_approved
        item: Json = {
            "id": call_id if is_asking else self._new_id("mcp"),
            "type": APPROVAL if is_asking else "mcp_call",
            "server_label": named.label,
            "name": named.tool,
            "arguments": "",
        }
        if not is_asking:
            item |= {
                "approval_request_id": call_id if is_approved else None,
                "status": "in_progress",
                "output": None,
                "error": None,
            }
        opened, added = self._stream.add(item)
        if is_asking:
            return opened, [added]
        return opened, [added, self._event(opened, "call.in_progress")]

    def written(self, opened: OpenItem, piece: str) -> Iterator[Json]:
        """Events for a piece of the arguments."""
        opened.texts.append(piece)
        if opened.item["type"] != APPROVAL:
            yield self._event(opened, "call_arguments.delta", delta=piece)

    def running(self, opened: OpenItem, call: ToolCall) -> Iterator[Json]:
        """Events of a call whose arguments are whole."""
        opened.item["arguments"] = call.arguments
        yield self._event(opened, "call_arguments.done", arguments=call.arguments)

    def ended(self, opened: OpenItem, result: ToolResult) -> Iterator[Json]:
        """Events of a call that ended, without the item's last."""
        run = result.details
        opened.item["status"] = "failed" if result.is_error else "completed"
        if isinstance(run, McpRun) and not result.is_error:
            opened.item["output"] = run.output
        elif result.is_error:
            said = run.output if isinstance(run, McpRun) else result.shown
            part = {"type": "text", "text": said}
            opened.item["error"] = {"type": "mcp_tool_execution_error", "content": [part]}
        yield self._event(opened, "call.failed" if result.is_error else "call.completed")

    def closed(self, opened: OpenItem, arguments: str, status: str) -> Iterator[Json]:
        """Events of a call that the response ends without, and without the item's last."""
        opened.item["arguments"] = arguments
        if opened.item["type"] == APPROVAL:
            return
        opened.item["status"] = status
        yield self._event(opened, "call.failed")

    def _event(self, opened: OpenItem, kind: str, **fields: object) -> Json:
        return self._stream.event(f"response.mcp_{kind}", **self._stream.of(opened), **fields)

    def _list(self, listed: McpListed) -> Iterator[Json]:
        item: Json = {
            "id": self._new_id("mcpl"),
            "type": "mcp_list_tools",
            "server_label": listed.label,
            "tools": [],
            "error": None,
        }
        opened, added = self._stream.add(item)
        yield added
        yield self._event(opened, "list_tools.in_progress")
        opened.item |= {"tools": [dict(tool) for tool in listed.tools]}
        opened.item["error"] = listed.error or None
        yield self._event(opened, "list_tools.failed" if listed.error else "list_tools.completed")
        yield self._stream.done(opened)
