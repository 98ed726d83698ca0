"""Responses: loop events into the event stream and the response object."""

from collections.abc import Callable, Iterator, Mapping

from pydantic import JsonValue

from runner.dialects.citations import spans_of
from runner.dialects.faults import DEADLINE, Fault, openai_error
from runner.dialects.response_items.item_parts import (
    arguments_of,
    code_of,
    outputs_json,
    usage_json,
)
from runner.dialects.response_items.item_stream import ItemStream, Json, OpenItem
from runner.dialects.response_items.mcp_items import McpItems
from runner.dialects.response_items.mcp_requests import McpOffer
from runner.events import (
    ArgumentsDelta,
    CallBegan,
    CallDone,
    CallRunning,
    Ended,
    Ending,
    LoopEvent,
    ReasoningDelta,
    TextDelta,
)
from runner.tools.arguments import StringStream
from runner.transcript import (
    CodeRun,
    Extraction,
    MadeFile,
    Search,
    ToolCall,
    ToolResult,
    Usage,
    compact,
)

INCOMPLETE: Mapping[Ending, str] = {
    "length": "max_output_tokens",
    "tokens": "max_output_tokens",
    "filter": "content_filter",
    "rounds": "max_messages",
    "calls": "max_tool_calls",
}
CUT: frozenset[Ending] = frozenset({"length", "tokens", "filter"})
"""Endings in the middle of a turn: the call that was being written is not whole."""


class ResponsesWriter:
    """Events of one response, numbered from 0, and the object that they add up to.

    `new_id` makes an id from a prefix. With `shows_outputs` false, calls say nothing of what they
    printed, as OpenAI's do unless asked; with `shows_more` also what a page shows of them.
    """

    def __init__(
        self,
        *,
        response_id: str,
        created_at: int,
        model: str,
        echo: Mapping[str, JsonValue],
        new_id: Callable[[str], str],
        container_id: Callable[[], str],
        client_tools: frozenset[str] = frozenset(),
        shows_outputs: bool = True,
        shows_more: bool = False,
        mcp: McpOffer | None = None,
    ) -> None:
        self._id = response_id
        self._created_at = created_at
        self._model = model
        self._echo = echo
        self._new_id = new_id
        self._container_id = container_id
        self._client_tools = client_tools
        self._shows_outputs = shows_outputs
        self._shows_more = shows_more
        self._stream = ItemStream()
        self._mcp = McpItems(self._stream, mcp or McpOffer(), new_id)
        self._reasoning: OpenItem | None = None
        self._message: OpenItem | None = None
        self._calls: dict[str, OpenItem] = {}
        self._uncited: list[MadeFile] = []
        self._cited: set[str] = set()

    @property
    def items(self) -> tuple[Mapping[str, object], ...]:
        """Output items so far, the last states of all."""
        return tuple(self._stream.output)

    def snapshot(
        self,
        status: str,
        *,
        usage: Json | None = None,
        error: Json | None = None,
        incomplete: str = "",
        completed_at: int | None = None,
    ) -> Json:
        """The response as it stands."""
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": completed_at,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "model": self._model,
            "output": list(self._stream.output),
            "usage": usage,
            **self._echo,
        }

    def begin(self, *, is_queued: bool = False) -> Iterator[Json]:
        """The events before anything happened."""
        if is_queued:
            queued = self.snapshot("queued")
            yield self._stream.event("response.created", response=queued)
            yield self._stream.event("response.queued", response=queued)
        else:
            yield self._stream.event("response.created", response=self.snapshot("in_progress"))
        yield self._stream.event("response.in_progress", response=self.snapshot("in_progress"))

    def feed(self, event: LoopEvent) -> Iterator[Json]:
        """Events for `event`; `Ended` goes to `end`."""
        yield from self._mcp.lists()
        if isinstance(event, ReasoningDelta):
            yield from self._thought(event.text)
        elif isinstance(event, TextDelta):
            yield from self._said(event.text)
        elif isinstance(event, CallBegan):
            yield from self._close_texts()
            yield from self._call_began(event)
        elif isinstance(event, ArgumentsDelta):
            yield from self._call_written(event)
        elif isinstance(event, CallRunning):
            yield from self._call_running(event.call)
        elif isinstance(event, CallDone):
            yield from self._call_done(event.call, event.result)

    def end(self, event: Ended, *, completed_at: int) -> Iterator[Json]:
        """The last events, the whole response in the very last."""
        yield from self._mcp.lists()
        yield from self._close_texts(is_last=True)
        yield from self._close_calls("incomplete", event)
        usage = usage_json(event.usage, event.counts)
        if event.ending in INCOMPLETE:
            reason = INCOMPLETE[event.ending]
            found = self.snapshot("incomplete", usage=usage, incomplete=reason)
            yield self._stream.event("response.incomplete", response=found)
        elif event.ending == "deadline":
            yield from self._failed(DEADLINE, usage)
        else:
            found = self.snapshot("completed", usage=usage, completed_at=completed_at)
            yield self._stream.event("response.completed", response=found)

    def fail(self, fault: Fault, usage: Usage, counts: Mapping[str, int]) -> Iterator[Json]:
        """The last events of a response that broke."""
        yield from self._close_texts(status="incomplete")
        yield from self._close_calls("failed", None)
        yield from self._failed(fault, usage_json(usage, counts))

    def cancel(self, usage: Usage, counts: Mapping[str, int]) -> Iterator[Json]:
        """The events of a response that is cancelled; the last one holds it as it was then."""
        yield from self._close_texts(status="incomplete")
        yield from self._close_calls("incomplete", None)
        body = self.snapshot("cancelled", usage=usage_json(usage, counts))
        yield self._stream.event("response.cancelled", response=body)

    def _failed(self, fault: Fault, usage: Json) -> Iterator[Json]:
        error = openai_error(fault)
        code = error["code"] if fault.status == 429 else "server_error"
        if fault.status < 500 and fault.status != 429:
            code = error["code"] if fault.kind == "context" else "invalid_prompt"
        said: Json = {"code": code or "server_error", "message": fault.message}
        yield self._stream.event(
            "response.failed", response=self.snapshot("failed", usage=usage, error=said)
        )

    # ---- thinking and text ----------------------------------------------------------------------

    def _thought(self, text: str) -> Iterator[Json]:
        if self._reasoning is None:
            yield from self._close_texts()
            self._reasoning, added = self._stream.add(
                {
                    "id": self._new_id("rs"),
                    "type": "reasoning",
                    "status": "in_progress",
                    "summary": [],
                }
            )
            yield added
            yield self._summary("part.added", part={"type": "summary_text", "text": ""})
        self._reasoning.texts.append(text)
        yield self._summary("text.delta", delta=text)

    def _summary(self, kind: str, **fields: object) -> Json:
        assert self._reasoning is not None
        place = self._stream.of(self._reasoning)
        return self._stream.event(
            f"response.reasoning_summary_{kind}", **place, summary_index=0, **fields
        )

    def _said(self, text: str) -> Iterator[Json]:
        if self._message is None:
            yield from self._close_texts()
            self._message, added = self._stream.add(
                {
                    "id": self._new_id("msg"),
                    "type": "message",
                    "role": "assistant",
                    "status": "in_progress",
                    "content": [],
                }
            )
            yield added
            yield self._content("content_part.added", part=_text_part("", []))
        self._message.texts.append(text)
        yield self._content("output_text.delta", delta=text, logprobs=[])

    def _content(self, kind: str, **fields: object) -> Json:
        assert self._message is not None
        return self._stream.event(
            f"response.{kind}", **self._stream.of(self._message), content_index=0, **fields
        )

    def _close_texts(self, *, status: str = "completed", is_last: bool = False) -> Iterator[Json]:
        if self._reasoning is not None:
            text = "".join(self._reasoning.texts)
            part: Json = {"type": "summary_text", "text": text}
            self._reasoning.item["summary"] = [part]
            self._reasoning.item["status"] = status
            yield self._summary("text.done", text=text)
            yield self._summary("part.done", part=part)
            yield self._stream.done(self._reasoning)
            self._reasoning = None
        if self._message is not None:
            text = "".join(self._message.texts)
            annotations = list(self._citations(text, is_last=is_last))
            for number, annotation in enumerate(annotations):
                yield self._content(
                    "output_text.annotation.added", annotation_index=number, annotation=annotation
                )
            part = _text_part(text, annotations)
            self._message.item["content"] = [part]
            self._message.item["status"] = status
            yield self._content("output_text.done", text=text, logprobs=[])
            yield self._content("content_part.done", part=part)
            yield self._stream.done(self._message)
            self._message = None

    def _citations(self, text: str, *, is_last: bool) -> Iterator[Json]:
        """Files that the code made: where the text links to them, else once without a place."""
        spans = spans_of(text, [made.path for made in self._uncited])
        for made in list(self._uncited):
            span = spans.get(made.path)
            if span is None and not is_last:
                continue
            self._uncited.remove(made)
            yield {
                "type": "container_file_citation",
                "container_id": self._container_id(),
                "file_id": made.file_id,
                "filename": made.path.rpartition("/")[2],
                "start_index": 0 if span is None else span.start,
                "end_index": 0 if span is None else span.end,
            }

    # ---- calls ----------------------------------------------------------------------------------

    def _call_began(self, event: CallBegan) -> Iterator[Json]:
        if event.tool == "code_interpreter":
            item: Json = {
                "id": self._new_id("ci"),
                "type": "code_interpreter_call",
                "status": "in_progress",
                "code": "",
                "container_id": self._container_id(),
                "outputs": [] if self._shows_outputs else None,
            }
            opened, added = self._stream.add(item)
            opened.code = StringStream("code")
            yield added
            yield self._stream.event(
                "response.code_interpreter_call.in_progress", **self._stream.of(opened)
            )
        elif event.tool in self._client_tools:
            opened, added = self._stream.add(
                {
                    "id": self._new_id("fc"),
                    "type": "function_call",
                    "status": "in_progress",
                    "call_id": event.call_id,
                    "name": event.tool,
                    "arguments": "",
                }
            )
            yield added
        elif self._mcp.has(event.tool):
            opened, begun = self._mcp.begin(event.tool, event.call_id)
            yield from begun
        elif event.tool == "web_search":
            opened, added = self._stream.add(
                {
                    "id": self._new_id("ws"),
                    "type": "web_search_call",
                    "status": "in_progress",
                    "action": {"type": "search", "query": "", "sources": []},
                }
            )
            yield added
            yield self._stream.event(
                "response.web_search_call.in_progress", **self._stream.of(opened)
            )
        else:
            # Shown once its arguments are known, or never: an unknown tool has no item.
            return
        self._calls[event.call_id] = opened

    def _call_written(self, event: ArgumentsDelta) -> Iterator[Json]:
        opened = self._calls.get(event.call_id)
        if opened is None:
            return
        if opened.code is not None:
            if piece := opened.code.feed(event.piece):
                yield self._code_delta(opened, piece)
        elif opened.item["type"] == "function_call":
            opened.texts.append(event.piece)
            yield self._stream.event(
                "response.function_call_arguments.delta",
                **self._stream.of(opened),
                delta=event.piece,
            )
        elif _is_mcp(opened):
            yield from self._mcp.written(opened, event.piece)

    def _code_delta(self, opened: OpenItem, piece: str) -> Json:
        opened.texts.append(piece)
        return self._stream.event(
            "response.code_interpreter_call_code.delta", **self._stream.of(opened), delta=piece
        )

    def _call_running(self, call: ToolCall) -> Iterator[Json]:
        opened = self._calls.get(call.id)
        if opened is not None and opened.code is not None:
            yield from self._code_complete(opened, code_of(call))
            yield self._stream.event(
                "response.code_interpreter_call.interpreting", **self._stream.of(opened)
            )
        elif opened is not None and opened.item["type"] == "web_search_call":
            yield self._stream.event(
                "response.web_search_call.searching", **self._stream.of(opened)
            )
        elif opened is not None and _is_mcp(opened):
            yield from self._mcp.running(opened, call)
        elif call.name == "web_extractor":
            urls = arguments_of(call, "urls").get("urls")
            opened, added = self._stream.add(
                {
                    "id": self._new_id("we"),
                    "type": "web_extractor_call",
                    "status": "in_progress",
                    "goal": arguments_of(call, "urls").get("goal") or "",
                    "urls": urls if isinstance(urls, list) else [],
                }
            )
            self._calls[call.id] = opened
            yield added

    def _code_complete(self, opened: OpenItem, code: str) -> Iterator[Json]:
        written = "".join(opened.texts)
        if not code.startswith(written):
            code = written
        if rest := code[len(written) :]:
            yield self._code_delta(opened, rest)
        opened.item["code"] = code
        yield self._stream.event(
            "response.code_interpreter_call_code.done", **self._stream.of(opened), code=code
        )

    def _call_done(self, call: ToolCall, result: ToolResult) -> Iterator[Json]:
        opened = self._calls.pop(call.id, None)
        if opened is None:
            return
        details = result.details
        opened.item["status"] = "completed"
        if opened.code is not None:
            self._code_result(opened, result)
            yield self._stream.event(
                "response.code_interpreter_call.completed", **self._stream.of(opened)
            )
        elif isinstance(details, Search):
            action: Json = {
                "type": "search",
                "query": details.query,
                "queries": [details.query],
                "sources": [{"type": "url", "url": source.url} for source in details.sources],
            }
            opened.item["action"] = action
            yield self._stream.event(
                "response.web_search_call.completed", **self._stream.of(opened)
            )
        elif isinstance(details, Extraction):
            opened.item |= {
                "goal": details.goal,
                "urls": list(details.urls),
                "output": details.output,
            }
        if _is_mcp(opened):
            yield from self._mcp.ended(opened, result)
        elif result.is_error and opened.code is None:
            opened.item["status"] = "failed"
        yield self._stream.done(opened)

    def _code_result(self, opened: OpenItem, result: ToolResult) -> None:
        details = result.details
        run = details if isinstance(details, CodeRun) else CodeRun(code="", notice=result.shown)
        is_failed = run.could_not_run or not isinstance(details, CodeRun)
        opened.item["status"] = "failed" if is_failed else "completed"
        opened.item["container_id"] = self._container_id()
        if self._shows_outputs:
            opened.item["outputs"] = outputs_json(run)
        if self._shows_more and run.more:
            opened.item["x_outcome"] = dict(run.more)
        for made in run.files:
            if made.file_id:
                self._uncited = [one for one in self._uncited if one.path != made.path]
                self._uncited.append(made)

    def _close_calls(self, status: str, ended: Ended | None) -> Iterator[Json]:
        """Calls that did not come to their end."""
        whole = {call.id: call for turn in ended.turns for call in turn.calls} if ended else {}
        for call_id, opened in list(self._calls.items()):
            del self._calls[call_id]
            if opened.item["type"] == "function_call":
                text = whole[call_id].arguments if call_id in whole else "".join(opened.texts)
                opened.item["arguments"] = text
                is_whole = call_id in whole and ended is not None and ended.ending not in CUT
                opened.item["status"] = "completed" if is_whole else status
                yield self._stream.event(
                    "response.function_call_arguments.done",
                    **self._stream.of(opened),
                    arguments=text,
                )
            elif _is_mcp(opened):
                text = whole[call_id].arguments if call_id in whole else "".join(opened.texts)
                yield from self._mcp.closed(opened, text, status)
            else:
                opened.item["status"] = status
                if opened.code is not None:
                    if not opened.item["code"]:
                        yield from self._code_complete(opened, "".join(opened.texts))
                    yield self._stream.event(
                        "response.code_interpreter_call.completed", **self._stream.of(opened)
                    )
            yield self._stream.done(opened)


# ---- parts --------------------------------------------------------------------------------------


def _is_mcp(opened: OpenItem) -> bool:
    return str(opened.item["type"]).startswith("mcp_")


def _text_part(text: str, annotations: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def frame(event: Mapping[str, object]) -> bytes:
    """An event on the wire. No `id:` line: a heartbeat after one breaks a client."""
    return f"event: {event['type']}\ndata: {compact(event)}\n\n".encode()
