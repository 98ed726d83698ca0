"""ResponseSocket: one WebSocket on which a client asks for responses, one after the other.

Theory of operation. The task that reads takes one message after the other and puts each into its
lane, the queue of its `stream_id`. Each lane has one task, which answers its messages in order;
lanes go on beside each other. A client that leaves ends the reader, and with it every lane, its
model and its snippet. A server that stops closes sockets that answer nothing at once; the others
when they have answered, or when their streams are ended.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing, suppress

from pydantic import JsonValue
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from runner.dialects.faults import Fault, fault_of, openai_error
from runner.dialects.fields import Fields
from runner.dialects.response_items.item_stream import Json
from runner.errors import RequestError, ServerStopping
from runner.server.accounts import Account
from runner.server.http.bodies import check_structure, parsed
from runner.server.http.replies import note
from runner.server.http.streaming import StatusLine
from runner.server.http.tracing import finish
from runner.server.routes.responses.preparing import prepared
from runner.server.routes.responses.response_run import ResponseRun
from runner.server.services import Services
from runner.server.store.response_store import StoredResponse
from runner.transcript import compact

IDLE_S = 600.0
LIFE_S = 3600.0
"""A connection is open for an hour at most, as OpenAI's are."""
LANES, QUEUED, RECENT = 16, 8, 8
NORMAL, GOING_AWAY = 1000, 1012
LIMIT = "websocket_connection_limit_reached"
STEER = "response.steer is not supported by this server; cancel by closing the connection."


class Recent:
    """The newest responses of one connection that were not to be stored, by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, StoredResponse] = OrderedDict()

    def get(self, response_id: str) -> StoredResponse | None:
        return self._kept.get(response_id)

    def keep(self, response: StoredResponse) -> None:
        self._kept[response.id] = response
        while len(self._kept) > RECENT:
            self._kept.popitem(last=False)


class Answering:
    """One response on its way to the socket; a stream that a stop of the server waits for."""

    def __init__(self, work: asyncio.Task[None]) -> None:
        self._work = work
        self.fault: Fault | None = None

    def abort(self, fault: Fault) -> None:
        """End it, with `fault` as what the client is told."""
        self.fault = fault
        self._work.cancel()


class ResponseSocket:
    """Answers on `websocket`, which was accepted, for `account`."""

    def __init__(self, websocket: WebSocket, services: Services, account: Account) -> None:
        self._websocket = websocket
        self._services = services
        self._account = account
        self._recent = Recent()
        self._lanes: dict[str, asyncio.Queue[dict[str, JsonValue]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._sending = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def serve(self) -> None:
        """Until the client leaves, is silent for too long, or the server stops."""
        streams = self._services.streams
        self._reader = asyncio.create_task(self._read())
        streams.add(self, listens=True)
        try:
            await asyncio.wait({self._reader})
            if not self._reader.cancelled() and (error := self._reader.exception()) is not None:
                raise error
        finally:
            streams.remove(self)
            tasks = {self._reader, *self._tasks}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._close(GOING_AWAY if self._is_stopping else NORMAL)

    def abort(self, _fault: Fault) -> None:
        """Close as soon as nothing is being answered: the server stops."""
        self._is_stopping = True
        self._end_when_quiet()

    def _end_when_quiet(self) -> None:
        if self._is_stopping and not self._busy and self._reader is not None:
            self._reader.cancel()

    # ---- reading --------------------------------------------------------------------------------

    async def _read(self) -> None:
        ends_at = time.monotonic() + LIFE_S
        while True:
            left_s = ends_at - time.monotonic()
            if left_s <= 0 and not self._busy:
                await self._limit_reached()
                return
            try:
                async with asyncio.timeout(max(min(IDLE_S, left_s), 1.0)):
                    message = await self._websocket.receive()
            except TimeoutError:
                if self._busy or left_s <= IDLE_S:
                    continue
                return
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            given = text.encode("utf-8", "replace") if text is not None else message["bytes"]
            try:
                await self._take(given)
            except RequestError as error:
                await self._fail(error, "")

    async def _take(self, message: bytes) -> None:
        """Put a message into its lane. Raises RequestError."""
        await check_structure(message)
        fields = Fields(parsed(message))
        kind = fields.text("type")
        if kind == "response.steer":
            raise RequestError("invalid", STEER, param="type")
        if kind != "response.create":
            raise fields.wrong("type", "must be 'response.create'")
        lane = fields.text("stream_id", longest=128) or ""
        queue = self._lanes.get(lane)
        if queue is None:
            if len(self._lanes) >= LANES:
                raise RequestError(
                    "concurrency", f"A connection has at most {LANES} streams.", param="stream_id"
                )
            queue = self._lanes[lane] = asyncio.Queue(QUEUED)
            self._tasks.add(asyncio.create_task(self._answer_all(lane, queue)))
        if queue.full():
            message_text = f"At most {QUEUED} messages of a stream may wait."
            raise RequestError("concurrency", message_text, param="stream_id")
        self._busy += 1
        queue.put_nowait(fields.data)

    # ---- answering ------------------------------------------------------------------------------

    async def _answer_all(self, lane: str, queue: asyncio.Queue[dict[str, JsonValue]]) -> None:
        while True:
            body = await queue.get()
            span = self._services.observer.tracing.begin("response.create")
            failed = ""
            try:
                await self._answer(body, lane)
            except Exception as error:  # noqa: BLE001
                failed = type(error).__name__
                # Told and logged as over HTTP; the connection is good for the next message.
                await self._fail(error, lane)
            finally:
                finish(span, {}, error=failed)
                self._busy -= 1
                self._end_when_quiet()

    async def _answer(self, body: Mapping[str, JsonValue], lane: str) -> None:
        """Answer one message. Raises what kept it from beginning."""
        if self._services.streams.is_stopping:
            raise ServerStopping
        self._account.charge()
        generates, wanted = request_of(body)
        response_run = await prepared(
            self._websocket, self._services, self._account, wanted, recent=self._recent.get
        )
        work = asyncio.create_task(self._send_all(response_run, lane, generates=generates))
        answering = Answering(work)
        self._services.streams.add(answering)
        try:
            await asyncio.wait({work})
            if work.cancelled() and answering.fault is not None:
                for event in response_run.failed(answering.fault):
                    await self._send(event, lane)
            else:
                await work
        finally:
            self._services.streams.remove(answering)
            work.cancel()
            await asyncio.wait({work})
            await response_run.job.close()
        if response_run.kept is not None and not response_run.options.store:
            self._recent.keep(response_run.kept)

    async def _send_all(self, response_run: ResponseRun, lane: str, *, generates: bool) -> None:
        found = response_run.events(StatusLine()) if generates else response_run.unanswered()
        async with aclosing(found) as events:
            async for event in events:
                await self._send(event, lane)

    async def _fail(self, error: Exception, lane: str) -> None:
        fault = fault_of(error)
        note(self._websocket, error, fault)
        event: Json = {"type": "error", "status": fault.status, "error": openai_error(fault)}
        await self._send(event, lane)

    async def _limit_reached(self) -> None:
        words = "The connection was open for an hour. Open a new one and go on."
        error = {"type": "invalid_request_error", "code": LIMIT, "message": words, "param": None}
        await self._send({"type": "error", "status": 400, "error": error}, "")

    async def _send(self, event: Json, lane: str) -> None:
        told = {**event, "stream_id": lane} if lane else event
        text = compact(told).encode("utf-8", "replace").decode()
        async with self._sending:
            # A client that left is told by the reader, which ends everything.
            with suppress(WebSocketDisconnect):
                await self._websocket.send_text(text)

    async def _close(self, code: int) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.close(code)


def request_of(message: Mapping[str, JsonValue]) -> tuple[bool, dict[str, JsonValue]]:
    """Whether a message wants an answer, and its request as HTTP has it. Raises RequestError."""
    fields = Fields(dict(message))
    if fields.flag("background"):
        raise fields.wrong("background", "is not supported over a WebSocket")
    if fields.flag("stream") is False:
        raise fields.wrong("stream", "is implied over a WebSocket, and cannot be false")
    generates = fields.flag("generate") is not False
    own = ("type", "generate", "stream_id", "stream", "background")
    body = {name: value for name, value in message.items() if name not in own}
    return generates, {**body, "stream": True}
