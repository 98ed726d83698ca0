"""What every request passes: an id, a look at its origin, one line in the log, the counters."""

import time
import uuid
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.errors import RequestError
from runner.server.e2b.domain import E2bDomain
from runner.server.http import logs
from runner.server.http.metrics import Metrics
from runner.server.http.origins import OriginCheck, keep_own_cookies
from runner.server.http.replies import error_reply
from runner.server.http.tracing import Tracing, finish, method_name
from runner.server.websockets import refuse

if TYPE_CHECKING:
    from opentelemetry.trace import Span

SWITCHED = 101
QUIET = ("/healthz", "/readyz", "/metrics")


class RequestMiddleware:
    """ASGI middleware. It adds `x-request-id` to every answer and never touches its body."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        origins: OriginCheck,
        tracing: Tracing,
        e2b_domain: E2bDomain,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._origins = origins
        self._tracing = tracing
        self._e2b_domain = e2b_domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        keep_own_cookies(scope)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        began, status = time.perf_counter(), 0
        headers, shared = scope["headers"], list[tuple[bytes, bytes]]()

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    *shared,
                ]
            await send(message)

        span = self._tracing.request(scope["method"], headers)
        self._metrics.open.inc()
        try:
            self._origins.check(scope, headers)
            shared = self._origins.answers(headers)
            allowed = self._origins.preflight(scope["method"], headers)
            if allowed is None:
                scope = self._e2b_domain.placed(scope)
                await self._app(scope, receive, stamped)
            else:
                shared = allowed
                await Response(status_code=204)(scope, receive, stamped)
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
            if span is not None:
                self._end(span, scope, status)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a socket; its line in the log is written when it has ended."""
        request_id = str(uuid.uuid4())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        logs.REQUEST_ID.set(request_id)
        scope["method"] = "SOCKET"
        began, status = time.perf_counter(), SWITCHED
        # As long as the connection is; what is asked on it has spans of its own below.
        span = self._tracing.request("GET", scope["headers"])
        self._metrics.open.inc()
        try:
            self._origins.check(scope, scope["headers"])
            await self._app(scope, receive, send)
        except RequestError as error:
            status = await refuse(scope, receive, send, error)
        finally:
            self._metrics.open.dec()
            status = state.get("status", status)
            self._note(scope, status, time.perf_counter() - began)
            if span is not None:
                self._end(span, scope, status)

    def _end(self, span: "Span", scope: Scope, status: int) -> None:
        path = getattr(scope.get("route"), "path", "unknown")
        is_socket = scope["type"] == "websocket"
        method = "GET" if is_socket else method_name(scope["method"])
        span.update_name(f"{method} {path}")
        facts = {
            "http.request.method": method,
            "http.route": path,
            "http.response.status_code": status or 499,
            "cellblock.request_id": scope["state"]["request_id"],
            "cellblock.tenant": scope["state"].get("owner"),
        }
        finish(span, facts, error=str(status) if status >= 500 else "")

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "unknown")
        self._metrics.requested(scope["method"], path, status or 499, took_s)
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
