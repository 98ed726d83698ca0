"""Any endpoint that speaks OpenAI's Chat Completions, through the official client."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Literal

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import JsonValue

from runner.errors import UpstreamError, UpstreamFault
from runner.events import ReasoningDelta
from runner.models.port import (
    CallDelta,
    FinishReason,
    ModelEvent,
    ModelRequest,
    ToolSpec,
    TurnEnded,
    UsageSeen,
)
from runner.models.textforms import Splitter
from runner.transcript import (
    Entry,
    FunctionResult,
    Instruction,
    Question,
    Record,
    ToolCall,
    Turn,
    Usage,
    encodable,
)

ThinkingField = Literal["none", "enable_thinking", "chat_template_kwargs", "reasoning_effort"]
DETAIL_CHARS = 400
RETRIES = 2
BUSY, SERVER_ERRORS = 429, 500
FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "calls",
    "function_call": "calls",
    "content_filter": "filter",
}


class Endpoint(Record):
    """Where an upstream is and how it differs from the others."""

    url: str
    model: str = ""
    """The upstream's own name for it; empty for the one that the client asked for."""
    key: str = "none"
    connect_s: float = 5.0
    read_s: float = 300.0
    """The longest silence between two pieces of an answer."""
    retries: int = RETRIES
    thinking_field: ThinkingField = "none"
    """How the upstream wants to be told to think; "none" leaves it alone."""
    extra: Mapping[str, JsonValue] = {}
    """Fields sent with every request."""
    headers: Mapping[str, str] = {}


class OpenAICompatible:
    """Asks an endpoint for streamed turns. Retries only until the first piece arrives."""

    def __init__(self, endpoint: Endpoint, *, transport: httpx2.AsyncBaseTransport | None = None):
        self._endpoint = endpoint
        timeout = openai.Timeout(endpoint.read_s, connect=endpoint.connect_s)
        self._client = AsyncOpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key or "none",
            max_retries=endpoint.retries,
            default_headers=dict(endpoint.headers),
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(transport=transport, timeout=timeout)
            if transport is not None
            else None,
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the next turn. Raises UpstreamError."""
        try:
            stream = await self._client.post(
                "/chat/completions",
                # Plain objects: a typed chunk takes five times as long to make as to read.
                cast_to=object,
                body=self._body(request),
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        except openai.OpenAIError as error:
            raise upstream_error(error, has_begun=False) from error
        turn = _TurnReader(request)
        async with stream, aclosing(turn.read(stream)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        await self._client.close()

    def _body(self, request: ModelRequest) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._endpoint.model or request.model,
            "messages": list(messages_of(request.entries)),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = [tool_json(tool) for tool in request.tools]
            body["tool_choice"] = choice_json(request.tool_choice)
            if not request.parallel_calls:
                body["parallel_tool_calls"] = False
        sampling = request.sampling.model_dump(exclude_none=True)
        extra: dict[str, object] = {**self._endpoint.extra}
        if "top_k" in sampling:
            extra["top_k"] = sampling.pop("top_k")
        if not sampling.get("stop"):
            sampling.pop("stop", None)
        else:
            sampling["stop"] = list(sampling["stop"])
        body |= sampling
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        extra |= self._thinking(request)
        return body | extra

    def _thinking(self, request: ModelRequest) -> dict[str, object]:
        if request.thinking is None or self._endpoint.thinking_field == "none":
            return {}
        if self._endpoint.thinking_field == "reasoning_effort":
            effort = request.effort or "medium"
            return {"reasoning_effort": effort if request.thinking else "none"}
        if self._endpoint.thinking_field == "chat_template_kwargs":
            return {"chat_template_kwargs": {"enable_thinking": request.thinking}}
        budget = request.thinking_budget
        more = {} if budget is None else {"thinking_budget": budget}
        return {"enable_thinking": request.thinking, **more}


class _TurnReader:
    """Chunks of one turn into events."""

    def __init__(self, request: ModelRequest) -> None:
        self._splitter = Splitter([tool.name for tool in request.tools])
        self._called = False
        self._finish: FinishReason | None = None
        self._spoke = False

    async def read(self, stream: openai.AsyncStream[object]) -> AsyncGenerator[ModelEvent, None]:
        try:
            async for chunk in stream:
                for event in self._chunk(chunk):
                    yield event
        except (openai.OpenAIError, httpx2.HTTPError, json.JSONDecodeError) as error:
            raise upstream_error(error, has_begun=True) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise UpstreamError("garbled", f"{type(error).__name__} in a chunk") from error
        for event in self._splitter.finish():
            yield event
        if self._finish is None:
            if not self._spoke:
                raise UpstreamError("garbled", "the stream had no content and no end")
            raise UpstreamError("cut", "no finish_reason before the end of the stream")
        has_calls = self._called or self._splitter.calls
        yield TurnEnded("calls" if has_calls and self._finish != "length" else self._finish)

    def _chunk(self, chunk: object) -> Iterator[ModelEvent]:
        if not isinstance(chunk, dict):
            raise UpstreamError("garbled", "a chunk is no object")
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            yield UsageSeen(usage_of(usage))
        for choice in chunk.get("choices") or ():
            if choice.get("index"):
                continue
            yield from self._delta(choice.get("delta") or {})
            if finish := choice.get("finish_reason"):
                self._spoke = True
                self._finish = FINISH.get(finish, "stop")

    def _delta(self, delta: Mapping[str, JsonValue]) -> Iterator[ModelEvent]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            self._spoke = True
            yield ReasoningDelta(encodable(thought))
        content = delta.get("content")
        if isinstance(content, str) and content:
            self._spoke = True
            yield from self._splitter.feed(encodable(content))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if not self._called:
                yield from self._splitter.finish()
            self._called = self._spoke = True
            yield call_delta(call)


def call_delta(call: JsonValue) -> CallDelta:
    """A piece of a call; what is missing of it stays empty."""
    found = call if isinstance(call, dict) else {}
    function = found.get("function")
    named = function if isinstance(function, dict) else {}
    index, call_id = found.get("index"), found.get("id")
    name, arguments = named.get("name"), named.get("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    return CallDelta(
        index if isinstance(index, int) else 0,
        encodable(arguments) if isinstance(arguments, str) else "",
        id=call_id if isinstance(call_id, str) else "",
        name=name if isinstance(name, str) else "",
    )


def upstream_error(error: Exception, *, has_begun: bool) -> UpstreamError:
    """What `error` of the client means; its text stays short and free of addresses."""
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
        return UpstreamError("slow")
    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    if isinstance(error, openai.APIConnectionError | httpx2.TransportError):
        return UpstreamError("cut" if has_begun else "down", type(error).__name__)
    if isinstance(error, json.JSONDecodeError | openai.APIResponseValidationError):
        return UpstreamError("garbled", "a chunk is no JSON")
    if isinstance(error, openai.APIError):
        return UpstreamError("failed", _short(error.message))
    return UpstreamError("failed", type(error).__name__)


def _status_error(error: openai.APIStatusError) -> UpstreamError:
    status = error.status_code
    fault: UpstreamFault
    if status == BUSY:
        fault = "busy"
    elif status in (401, 403):
        fault = "refused"
    elif status in (408, 504):
        fault = "slow"
    elif status in (502, 503):
        fault = "down"
    else:
        fault = "failed" if status >= SERVER_ERRORS else "rejected"
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    wait = error.response.headers.get("retry-after", "")
    return UpstreamError(
        fault,
        _short(message) if isinstance(message, str) else f"status {status}",
        status=status,
        retry_after_s=float(wait) if wait.isdigit() else None,
    )


def _short(text: str) -> str:
    return " ".join(encodable(text).split())[:DETAIL_CHARS]


def usage_of(usage: Mapping[str, JsonValue]) -> Usage:
    """The counts of a chunk's usage object, whatever of it is there."""
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
    )


def _count(counts: object, name: str) -> int:
    found = counts.get(name) if isinstance(counts, Mapping) else None
    return max(int(found), 0) if isinstance(found, int | float) else 0


# ---- the request's JSON -------------------------------------------------------------------------


def messages_of(entries: tuple[Entry, ...]) -> Iterator[dict[str, object]]:
    """`entries` as Chat Completions messages; instructions become one system message first."""
    system = "\n\n".join(one.text for one in entries if isinstance(one, Instruction) and one.text)
    if system:
        yield {"role": "system", "content": system}
    for entry in entries:
        if isinstance(entry, Question):
            yield {"role": "user", "content": _content(entry)}
        elif isinstance(entry, Turn):
            yield from _turn_messages(entry)
        elif isinstance(entry, FunctionResult):
            yield {"role": "tool", "tool_call_id": entry.call_id, "content": entry.text}


def _content(entry: Question) -> str | list[dict[str, object]]:
    if not entry.images:
        return entry.text
    parts: list[dict[str, object]] = [{"type": "text", "text": entry.text}] if entry.text else []
    return parts + [{"type": "image_url", "image_url": {"url": url}} for url in entry.images]


def _turn_messages(turn: Turn) -> Iterator[dict[str, object]]:
    message: dict[str, object] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [call_json(call) for call in turn.calls]
    yield message
    for result in turn.results:
        yield {"role": "tool", "tool_call_id": result.call_id, "content": result.shown}


def call_json(call: ToolCall) -> dict[str, object]:
    """A call of an earlier turn. Some servers fail on arguments that are no JSON object."""
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    arguments = call.arguments if is_object else "{}"
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def tool_json(tool: ToolSpec) -> dict[str, object]:
    """A tool as Chat Completions describes it."""
    return {"type": "function", "function": tool.model_dump(mode="json")}


def choice_json(choice: str) -> str | dict[str, object]:
    """`tool_choice` on the wire."""
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}
