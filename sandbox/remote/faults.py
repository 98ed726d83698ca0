"""Errors of a server as the exceptions that the same call raises on this machine."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.errors import (
    CheckpointDropped,
    CopyRefused,
    FileIsDirectory,
    FileIsThere,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    GuestFault,
    NoRoomForFile,
    PackagesNotInstalled,
    PolicyError,
    RemoteFailed,
    SandboxError,
    ServerBusy,
    SessionClosed,
    SessionExpired,
    SessionLost,
    ValueNotCarried,
    rebuilt,
)

MESSAGE_CHARS = 10_000
RETRY_S = 1.0
KEY = "Give the server's key as key="
NO_ANSWER = "Is it a Cellblock server, and is the path right?"
FILES: Mapping[str, type[FileRefused]] = {
    "file_refused": FileRefused,
    "file_not_found": FileNotThere,
    "file_exists": FileIsThere,
    "file_is_directory": FileIsDirectory,
    "file_not_directory": FileNotDirectory,
    "file_not_permitted": FileNotPermitted,
    "file_no_room": NoRoomForFile,
}
ENDS: Mapping[str, type[SessionLost | SessionExpired]] = {
    "session_lost": SessionLost,
    "session_expired": SessionExpired,
}
NOT_THERE = "the server has no such session any more: it was closed, or idle for too long"


def error_of(
    server: str, status: int, body: bytes, retry_after: str, *, subject: str, of_session: bool
) -> SandboxError:
    """What an answer that is no success stands for. `subject` is the path or name asked about."""
    try:
        told = json.loads(body)["error"]
        message, code, param = told["message"], told["code"], told["param"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return RemoteFailed(server, "its answer is none of /v1/sessions", NO_ANSWER, status=status)
    message = str(message)[:MESSAGE_CHARS]
    code, param = str(code or ""), str(param or "")
    if status == 401:
        return RemoteFailed(server, message, KEY, status=status)
    if status == 429 or code == "server_overloaded":
        return ServerBusy(server, message, _seconds(retry_after))
    if of_session and status == 404 and not code and not param:
        return SessionLost(NOT_THERE)
    return told_error(code, message, param, subject) or RemoteFailed(server, message, status=status)


def told_error(code: str, message: str, param: str, subject: str) -> SandboxError | None:
    """The exception of a server's `code`; None for one that has none of ours."""
    facts: dict[str, Any]
    if param == "packages" and code in ("conflict", "file_no_room"):
        problem = "no_room" if code == "file_no_room" else "failed"
        facts = {"packages": (), "problem": problem, "detail": message, "remedy": ""}
        return rebuilt(PackagesNotInstalled, (message,), facts)
    if code in FILES:
        reason = message.removeprefix(f"File {subject!r} was refused: ")
        facts = {"path": subject, "reason": reason, "remedy": ""}
        return rebuilt(FILES[code], (message,), facts)
    if code in ENDS:
        return rebuilt(ENDS[code], (message,), {"why": message, "when": datetime.now(UTC)})
    if code == "session_closed":
        return rebuilt(SessionClosed, (message,), {"what": "session"})
    if code == "guest_fault":
        return rebuilt(GuestFault, (message,), {"fault": message})
    if code == "copy_refused":
        return rebuilt(CopyRefused, (message,), {"why": message})
    if code == "checkpoint_dropped" or param == "checkpoint":
        return rebuilt(CheckpointDropped, (message,), {"checkpoint": subject, "why": message})
    if code == "value_not_carried" or param == "name":
        return rebuilt(ValueNotCarried, (message,), {"name": subject, "problem": message})
    if code == "invalid_parameter_error":
        facts = {"field": param, "problem": message, "remedy": "", "source": ""}
        return rebuilt(PolicyError, (message,), facts)
    return None


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), 3600.0))
    except ValueError:
        return RETRY_S
