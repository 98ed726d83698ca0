"""Replies: JSON and errors on the wire, in the words of the dialect that the path belongs to."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runner.dialects import chat, dashscope
from runner.dialects.faults import Fault, fault_of
from runner.errors import ReplayMismatch, RequestError, RunnerError
from runner.server.http import logs
from runner.transcript import compact
from sandbox import FileRefused, SandboxError

DASHSCOPE_PREFIX = "/api/v1/services/"
CLIENT_WAIT_CAP_S = 100.0
SLICE_BYTES = 256 * 1024


def request_id_of(request: HTTPConnection) -> str:
    """Return the id of this request, also in its header."""
    return str(request.state.request_id)


def json_reply(
    data: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`data` as the whole answer."""
    return Response(
        compact(data).encode("utf-8", "replace"), status, headers, media_type="application/json"
    )


class LongReply(Response):
    """JSON in parts, sent in slices: to join and to encode them at once takes long.

    A part that is text is ASCII.
    """

    media_type = "application/json"

    def __init__(self, parts: Sequence[bytes | str]) -> None:
        super().__init__()
        self._parts = parts
        self.headers["content-length"] = str(sum(map(len, parts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for part in self._parts:
            for begin in range(0, len(part), SLICE_BYTES):
                piece = part[begin : begin + SLICE_BYTES]
                data = piece.encode("ascii") if isinstance(piece, str) else piece
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_reply(request: HTTPConnection, error: Exception, *, ran_code: bool = False) -> Response:
    """Return the answer to a request that failed before its first byte."""
    fault = fault_of(error)
    note(request, error, fault)
    build = dashscope.error_body if is_dashscope(request) else chat.error_body
    return json_reply(
        build(fault, request_id_of(request)), fault.status, _headers(fault, ran_code=ran_code)
    )


def is_dashscope(request: HTTPConnection) -> bool:
    """Return whether the path belongs to the DashScope dialect."""
    return request.url.path.startswith(DASHSCOPE_PREFIX)


def note(request: HTTPConnection, error: Exception, fault: Fault) -> None:
    """Log a failure once: a client's mistake as a fact, the server's with its cause."""
    facts: dict[str, object] = request.scope["state"].setdefault("facts", {})
    facts["fault"] = fault.kind
    if isinstance(error, RequestError | FileRefused):
        return
    is_known = isinstance(error, RunnerError | SandboxError)
    more: dict[str, object] = {} if is_known else {"trace": logs.trace_of(error)}
    config = request.app.state.services.config
    if config.server.log_content or (is_known and not isinstance(error, ReplayMismatch)):
        # What differs from a recording is what was asked; an unforeseen error may quote anything.
        more["error"] = str(error)[: logs.ERROR_CHARS]
    level = logging.WARNING if is_known else logging.ERROR
    logs.write("failure", level, fault=fault.kind, **more)


def _headers(fault: Fault, *, ran_code: bool) -> dict[str, str]:
    headers = {}
    if fault.retry_after_s is not None:
        wait_s = min(max(fault.retry_after_s, 0.05), CLIENT_WAIT_CAP_S)
        headers["retry-after"] = str(math.ceil(wait_s))
        headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
    if ran_code and fault.status >= 500:
        # A retry would run the code again.
        headers["x-should-retry"] = "false"
    if fault.kind in ("quota", "replay", "storage_full"):
        headers["x-should-retry"] = "false"
    return headers
