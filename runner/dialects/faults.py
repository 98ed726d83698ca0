"""Faults: what went wrong with a request, before a dialect puts it into its own words."""

from typing import NamedTuple

from runner.errors import (
    ReplayMismatch,
    RequestError,
    RequestFault,
    ServerStopping,
    StorageError,
    StorageFault,
    UpstreamError,
    UpstreamFault,
)
from sandbox import (
    CheckpointDropped,
    CopyRefused,
    FileRefused,
    GuestFault,
    PoolFull,
    SandboxError,
    SessionClosed,
    SessionExpired,
)


class Fault(NamedTuple):
    """An HTTP status with the facts that every dialect's body is made of."""

    status: int
    kind: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None


REQUEST_STATUS: dict[RequestFault, int] = {
    "invalid": 400,
    "body": 400,
    "key": 401,
    "key_missing": 401,
    "forbidden": 403,
    "model_missing": 400,
    "model_unknown": 404,
    "not_found": 404,
    "previous_response": 400,
    "conflict": 409,
    "too_large": 413,
    "too_slow": 408,
    "rate": 429,
    "concurrency": 429,
    "quota": 429,
    "deadline": 504,
    "file_refused": 400,
    "file_not_found": 404,
    "file_exists": 409,
    "file_is_directory": 409,
    "file_not_directory": 409,
    "file_not_permitted": 403,
    "file_no_room": 413,
    "session_lost": 409,
    "session_expired": 409,
    "session_closed": 409,
    "guest_fault": 409,
    "copy_refused": 409,
    "checkpoint_dropped": 409,
}
UPSTREAM_STATUS: dict[UpstreamFault, int] = {
    "down": 503,
    "slow": 504,
    "cut": 502,
    "garbled": 502,
    "busy": 429,
    "refused": 502,
    "rejected": 400,
    "failed": 502,
}
STORAGE_STATUS: dict[StorageFault, int] = {"full": 507, "failed": 500}
FILE_FAULTS: dict[str, RequestFault] = {  # kind of a FileRefused: fault
    "refused": "file_refused",
    "not_found": "file_not_found",
    "exists": "file_exists",
    "is_directory": "file_is_directory",
    "not_directory": "file_not_directory",
    "not_permitted": "file_not_permitted",
    "no_room": "file_no_room",
}
SESSION_FAULTS: tuple[tuple[type[SandboxError], RequestFault], ...] = (
    (SessionExpired, "session_expired"),
    (SessionClosed, "session_closed"),
    (GuestFault, "guest_fault"),
    (CopyRefused, "copy_refused"),
    (CheckpointDropped, "checkpoint_dropped"),
)
SANDBOX_MESSAGE = "The code sandbox is not available."
INTERNAL_MESSAGE = "The server failed to answer this request."


def session_fault(error: SandboxError) -> RequestFault:
    """The fault of what a session cannot do any more, or not now."""
    found = (fault for kind, fault in SESSION_FAULTS if isinstance(error, kind))
    return next(found, "session_lost")


def fault_of(error: Exception) -> Fault:
    """What a client is told of `error`. Nothing of an unexpected one but that it happened."""
    if isinstance(error, RequestError):
        status = REQUEST_STATUS[error.fault]
        return Fault(status, error.fault, error.message, error.param, error.retry_after_s)
    if isinstance(error, UpstreamError):
        status = UPSTREAM_STATUS[error.fault]
        if error.is_too_long:
            return Fault(status, "context", error.public)
        return Fault(status, f"upstream_{error.fault}", error.public, None, error.retry_after_s)
    if isinstance(error, StorageError):
        return Fault(STORAGE_STATUS[error.fault], f"storage_{error.fault}", error.public)
    if isinstance(error, ReplayMismatch):
        return Fault(500, "replay", str(error))
    if isinstance(error, ServerStopping):
        return Fault(503, "overload", str(error), None, 1.0)
    if isinstance(error, FileRefused):
        kind = FILE_FAULTS.get(error.kind, "file_refused")
        return Fault(REQUEST_STATUS[kind], kind, str(error), "path")
    if isinstance(error, PoolFull):
        message = "All code sandboxes are in use."
        return Fault(503, "overload", message, None, error.retry_after_s)
    if isinstance(error, CopyRefused):
        return Fault(REQUEST_STATUS["copy_refused"], "copy_refused", str(error))
    if isinstance(error, SandboxError):
        return Fault(503, "sandbox", SANDBOX_MESSAGE)
    return Fault(500, "internal", INTERNAL_MESSAGE)


DEADLINE = Fault(504, "deadline", "The time for this request is over.")

OPENAI_WORDS: dict[str, tuple[str, str]] = {  # kind: code, type
    "body": ("invalid_parameter_error", "invalid_request_error"),
    "key": ("invalid_api_key", "invalid_request_error"),
    "key_missing": ("invalid_api_key", "invalid_request_error"),
    "forbidden": ("access_denied", "invalid_request_error"),
    "model_missing": ("invalid_parameter_error", "invalid_request_error"),
    "model_unknown": ("model_not_found", "invalid_request_error"),
    "previous_response": ("previous_response_not_found", "invalid_request_error"),
    "not_found": ("", "invalid_request_error"),
    "conflict": ("conflict", "invalid_request_error"),
    "too_large": ("request_too_large", "invalid_request_error"),
    "too_slow": ("timeout", "invalid_request_error"),
    "rate": ("limit_requests", "rate_limit_error"),
    "concurrency": ("limit_requests", "rate_limit_error"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "upstream_busy": ("limit_requests", "rate_limit_error"),
    "upstream_rejected": ("invalid_parameter_error", "invalid_request_error"),
    # Clients that make the conversation shorter by themselves look for this code.
    "context": ("context_length_exceeded", "invalid_request_error"),
    "upstream_slow": ("timeout", "server_error"),
    "deadline": ("timeout", "server_error"),
    "storage_full": ("insufficient_storage", "server_error"),
    "overload": ("server_overloaded", "server_error"),
    **{kind: (kind, "invalid_request_error") for kind in FILE_FAULTS.values()},
    **{kind: (kind, "invalid_request_error") for _, kind in SESSION_FAULTS},
    "session_lost": ("session_lost", "invalid_request_error"),
}


def openai_error(fault: Fault) -> dict[str, object]:
    """The object under `error` in both OpenAI dialects."""
    default = (
        ("invalid_parameter_error", "invalid_request_error")
        if fault.status < 500
        else ("server_error", "server_error")
    )
    code, kind = OPENAI_WORDS.get(fault.kind, default)
    return {"message": fault.message, "type": kind, "param": fault.param, "code": code or None}


def openai_body(fault: Fault, request_id: str) -> dict[str, object]:
    """The whole error body of both OpenAI dialects."""
    return {"error": openai_error(fault), "request_id": request_id}
