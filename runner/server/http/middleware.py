"""What every request passes: an id, a size limit, one line in the log, the counters."""

import asyncio
import json
import time
import uuid

from pydantic import JsonValue
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.dialects.fields import check_depth
from runner.errors import RequestError
from runner.server.http import logs
from runner.server.http.metrics import Metrics
from runner.server.http.replies import error_reply

BODY_SILENCE_S = 30.0
"""A client that sends nothing of its body for so long holds its connection no longer."""
QUIET = ("/healthz", "/readyz", "/metrics")


class RequestMiddleware:
    """ASGI middleware. It adds `x-request-id` to every answer and never touches its body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        began, status = time.perf_counter(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        self._metrics.open.inc()
        try:
            await self._app(scope, receive, stamped)
        except ClientDisconnect:
            # It left while it sent its body: no answer can reach it.
            pass
        except Exception as error:
            if status:
                raise
            # Left to the outer layers it would be answered there too, but logged twice.
            await error_reply(Request(scope), error)(scope, receive, stamped)
        finally:
            self._metrics.open.dec()
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "unknown")
        self._metrics.requests.labels(path, str(status or 499)).inc()
        self._metrics.seconds.labels(path).observe(took_s)
        if path in QUIET:
            return
        logs.write(
            "request",
            method=scope["method"],
            route=path,
            # 499: the client left before there was a status.
            status=status or 499,
            took_ms=round(took_s * 1000, 1),
            owner=scope["state"].get("owner"),
            **scope["state"].get("facts", {}),
        )


async def read_body(request: Request, cap: int) -> bytes:
    """The body, up to `cap` bytes. Raises RequestError."""
    too_large = RequestError("too_large", f"The body is larger than {cap} bytes.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > cap:
        raise too_large
    body, pieces = bytearray(), request.stream()
    try:
        while True:
            async with asyncio.timeout(BODY_SILENCE_S):
                piece = await anext(pieces, None)
            if piece is None:
                return bytes(body)
            body += piece
            if len(body) > cap:
                raise too_large
    except TimeoutError:
        message = f"Nothing of the body came for {BODY_SILENCE_S:g} s."
        raise RequestError("too_slow", message) from None


async def read_json(request: Request, cap: int) -> JsonValue:
    """The body as JSON. Raises RequestError."""
    body = await read_body(request, cap)
    try:
        value: JsonValue = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("body", "The body nests too deeply.") from None
    except (ValueError, UnicodeDecodeError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "not valid JSON"
        raise RequestError("body", f"The body is no valid JSON: {what}.") from None
    check_depth(value)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
