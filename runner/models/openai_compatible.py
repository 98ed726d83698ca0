"""Any endpoint that speaks Chat Completions, read as tolerantly as endpoints differ."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress

import httpx2
from pydantic import JsonValue

from runner.config import ThinkingField
from runner.errors import ConfigError, UpstreamError
from runner.models.port import ModelEvent, ModelRequest
from runner.models.upstream.adaptation import Habits, Memory
from runner.models.upstream.error_envelopes import short
from runner.models.upstream.http_stream import TimedPieces, opened, transport_error
from runner.models.upstream.request_json import choice_json, messages_of, tool_json
from runner.models.upstream.sse import EventDecoder, TooLong
from runner.models.upstream.turn_reader import TurnReader
from runner.transcript import Record

LOG = logging.getLogger("cellblock.upstream")
PATH = "/chat/completions"
TEMPLATE = "chat_template_kwargs"
RETRIES = 2
REFUSALS_A_REQUEST = 10
HOLD_S = 1.5
"""How long the first text of a model waits for a closing tag that would make it thinking."""
CONNECTIONS, IDLE_CONNECTIONS = 1000, 100
DRAINED_PIECES, DRAIN_S = 4, 0.05


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
    key_header: str = "authorization"
    omit: tuple[str, ...] = ()
    """Fields that are never sent; "strict" is that of each function."""
    rename: Mapping[str, str] = {}
    """Fields that are sent under another name."""
    opens_thinking: bool | None = None
    """Whether answers begin inside thinking, without an opening tag; None finds out."""


class OpenAICompatible:
    """Asks an endpoint for streamed turns. Retries only until the first piece arrives."""

    def __init__(self, endpoint: Endpoint, *, transport: httpx2.AsyncBaseTransport | None = None):
        self._endpoint = endpoint
        self._url = _url_of(endpoint.url)
        # Without what may be a secret: names and passwords, and a query.
        self._place = str(self._url.copy_with(userinfo=b"", query=None)).removesuffix(PATH)
        self._memory = Memory(omit=endpoint.omit, rename=endpoint.rename)
        timeout = httpx2.Timeout(endpoint.read_s, connect=endpoint.connect_s)
        limits = httpx2.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=IDLE_CONNECTIONS
        )
        self._client = httpx2.AsyncClient(timeout=timeout, limits=limits, transport=transport)
        key = endpoint.key or "none"
        self._hidden = "" if key == "none" else key
        is_bearer = endpoint.key_header.lower() == "authorization"
        self._headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "user-agent": "cellblock",
            endpoint.key_header: f"Bearer {key}" if is_bearer else key,
            **endpoint.headers,
        }

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The events of the next turn. Raises UpstreamError."""
        model = self._endpoint.model or request.model
        habits, body = self._memory.of(model), self._body(request, model)
        has_begun = False
        for _ in range(REFUSALS_A_REQUEST):
            sent = habits.fit(body)
            try:
                async with aclosing(self._turn(request, sent, habits)) as events:
                    async for event in events:
                        has_begun = True
                        yield event
                return
            except UpstreamError as error:
                error.at(self._place, model)
                field = "" if has_begun else habits.learn(error, sent)
                if not field:
                    raise
                LOG.warning("the endpoint refuses the field %s of %s", field, short(model))
        raise UpstreamError("rejected", "the endpoint refuses one field after the other")

    async def close(self) -> None:
        await self._client.aclose()

    async def _turn(
        self, request: ModelRequest, body: Mapping[str, object], habits: Habits
    ) -> AsyncGenerator[ModelEvent, None]:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        asked = self._client.build_request(
            "POST", self._url, content=content, headers=self._headers
        )
        response = await opened(
            self._client, asked, retries=self._endpoint.retries, hidden=self._hidden
        )
        opens = self._endpoint.opens_thinking
        opens = habits.opens_thinking if opens is None else opens
        reader = TurnReader(
            request,
            opens_thinking=opens is True,
            holds=opens is None or not request.is_watched,
            hidden=self._hidden,
        )
        pieces = TimedPieces(response.aiter_bytes())
        try:
            async with aclosing(self._read(reader, pieces, request)) as events:
                async for event in events:
                    yield event
            habits.opens_thinking = reader.habit(habits.opens_thinking)
            await _drained(pieces)
        finally:
            await pieces.close()
            await response.aclose()

    async def _read(
        self, reader: TurnReader, pieces: TimedPieces, request: ModelRequest
    ) -> AsyncGenerator[ModelEvent, None]:
        decoder = EventDecoder()
        try:
            async with aclosing(self._pieces(reader, pieces, decoder, request)) as events:
                async for event in events:
                    yield event
            for event in reader.finish(decoder.head):
                yield event
            if reader.has_only_thought:
                LOG.warning("the model at %s thought and answered nothing", self._place)
        except (UpstreamError, httpx2.TransportError, httpx2.DecodingError, TooLong) as error:
            # What was written before is not lost with what broke behind it.
            for event in reader.release():
                yield event
            if isinstance(error, UpstreamError):
                raise
            if isinstance(error, TooLong):
                raise UpstreamError("garbled", str(error)) from error
            raise transport_error(error, has_begun=True) from error

    async def _pieces(
        self, reader: TurnReader, pieces: TimedPieces, decoder: EventDecoder, request: ModelRequest
    ) -> AsyncGenerator[ModelEvent, None]:
        until, clock = 0.0, asyncio.get_running_loop().time
        while not reader.is_over:
            wait_s = None
            if reader.is_holding and request.is_watched:
                until = until or clock() + HOLD_S
                wait_s = max(until - clock(), 0.0)
            try:
                piece = await pieces.next(wait_s)
            except TimeoutError:
                for event in reader.release():
                    yield event
                continue
            for found in decoder.finish() if piece is None else decoder.feed(piece):
                for event in reader.feed(found):
                    yield event
            if piece is None:
                return

    def _body(self, request: ModelRequest, model: str) -> dict[str, object]:
        body: dict[str, object] = {
            "model": model,
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
        body |= sampling.pop("passed_on")
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
        given, own = body.get(TEMPLATE), extra.get(TEMPLATE)
        if isinstance(given, dict) and isinstance(own, dict):
            # What the client says of its template wins; the rest is this server's.
            extra[TEMPLATE] = {**own, **given}
        return body | extra

    def _thinking(self, request: ModelRequest) -> dict[str, object]:
        if self._endpoint.thinking_field == "none":
            # Only what a client itself said; the endpoint knows what to make of it.
            return {} if request.effort is None else {"reasoning_effort": request.effort}
        if request.thinking is None:
            return {}
        if self._endpoint.thinking_field == "reasoning_effort":
            effort = request.effort or "medium"
            return {"reasoning_effort": effort if request.thinking else "none"}
        if self._endpoint.thinking_field == TEMPLATE:
            return {TEMPLATE: {"enable_thinking": request.thinking}}
        budget = request.thinking_budget
        more = {} if budget is None else {"thinking_budget": budget}
        return {"enable_thinking": request.thinking, **more}


async def _drained(pieces: TimedPieces) -> None:
    """Read what is left behind the end of a turn, so that the connection can be used again."""
    with suppress(TimeoutError, httpx2.TransportError, httpx2.DecodingError):
        for _ in range(DRAINED_PIECES):
            if await pieces.next(DRAIN_S) is None:
                return


def _url_of(base: str) -> httpx2.URL:
    """Where to post: below `base`, whose query is kept. Raises ConfigError."""
    try:
        url = httpx2.URL(base)
    except httpx2.InvalidURL as error:
        raise ConfigError("url", f"is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("url", f"is {base!r}; it must begin with http:// or https://")
    path = url.path.rstrip("/")
    return url.copy_with(path=path if path.endswith(PATH) else path + PATH)
