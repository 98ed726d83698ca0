"""Forms: what E2B's clients are told of a failure, on each of its three services.

The API and the files answer `{"code", "message"}`, the code interpreter plain text, and the
services of the sandbox an error of the Connect protocol.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runner.dialects.faults import Fault, fault_of
from runner.errors import RequestError, RunnerError, StorageError
from runner.server.http.replies import json_reply, note
from runner.server.http.streaming import Answer, Streams
from runner.transcript import compact
from sandbox import SandboxError

Form = Callable[[Fault], Response]
CONNECT_CODES: dict[int, str] = {  # status of a fault: code of Connect
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "failed_precondition",
    413: "resource_exhausted",
    429: "resource_exhausted",
    501: "unimplemented",
    502: "unavailable",
    503: "unavailable",
    504: "deadline_exceeded",
    507: "resource_exhausted",
}
CONNECT_STREAM = "application/connect+json"
KNOWN = (RunnerError, SandboxError, RequestValidationError)


class SandboxGone(RunnerError):
    """The sandbox that a request is for was killed, has reached its timeout, or is paused."""

    def __init__(self, sandbox_id: str) -> None:
        super().__init__(f"The sandbox {sandbox_id[:100]} was not found")


class NotDone(RunnerError):
    """Something of E2B's that this server does not have; the message says why."""


class Missing(NotDone):
    """The same of a whole call, which a client may know to be missing."""


def fault_for(error: Exception) -> Fault:
    """What a client is told of `error`, with the statuses that E2B's clients know."""
    if isinstance(error, SandboxGone):
        return Fault(502, "sandbox_gone", str(error))
    if isinstance(error, Missing):
        return Fault(501, "missing", str(error))
    if isinstance(error, NotDone):
        return Fault(400, "not_done", str(error))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return Fault(400, "invalid", f"{first['loc'][-1]}: {first['msg']}.")
    fault = fault_of(error)
    if fault.kind == "file_no_room":
        return fault._replace(status=507)
    if fault.kind.startswith("file_") and fault.status == 409:
        return fault._replace(status=400)
    return fault


def as_json(fault: Fault) -> Response:
    """An error of the API, and of files over HTTP."""
    body = {"code": fault.status, "message": fault.message}
    return json_reply(body, fault.status, _headers(fault))


def as_text(fault: Fault) -> Response:
    """An error of the code interpreter."""
    return PlainTextResponse(fault.message, fault.status, _headers(fault))


def as_connect(fault: Fault) -> Response:
    """An error of a call over Connect."""
    return json_reply(connect_error(fault), fault.status)


def as_stream(fault: Fault) -> Response:
    """An error of a stream over Connect: its end, with nothing before."""
    end = frame({"error": connect_error(fault)}, is_end=True)
    return Response(end, media_type=CONNECT_STREAM)


def connect_error(fault: Fault) -> dict[str, object]:
    """The object that says so in the Connect protocol, also at the end of a stream."""
    code = CONNECT_CODES.get(fault.status, "internal")
    if fault.kind == "file_exists":
        code = "already_exists"
    return {"code": code, "message": fault.message}


def answering(form: Form) -> type[APIRoute]:
    """A class of routes that tell failures in `form`."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def handle(request: Request) -> Response:
                return await told(request, form, lambda: handler(request))

            return handle

    return Route


async def told(request: Request, form: Form, make: Callable[[], Awaitable[Response]]) -> Response:
    """What `make` gives, or its failure in `form`."""
    try:
        return await make()
    except KNOWN as error:
        fault = fault_for(error)
        # What a client is told at length is not for the log again.
        seen = error if isinstance(error, StorageError | SandboxError) else None
        note(request, seen or RequestError("invalid", fault.message), fault)
        return form(fault)


def answer(
    request: Request, streams: Streams, form: Form, make: Callable[[], Awaitable[Response]]
) -> Response:
    """An answer that takes its time: a client that leaves cancels the making."""

    async def made() -> Response:
        return await told(request, form, make)

    return Answer(made, streams)


def frame(message: Mapping[str, object], *, is_end: bool = False) -> bytes:
    """A message in a stream of the Connect protocol."""
    data = compact(message).encode("utf-8", "replace")
    return bytes([2 if is_end else 0]) + len(data).to_bytes(4, "big") + data


def _headers(fault: Fault) -> dict[str, str]:
    if fault.status != 429:
        return {}
    if fault.retry_after_s is None:
        return {"should-retry": "false"}
    return {"retry-after": str(max(1, round(fault.retry_after_s)))}
