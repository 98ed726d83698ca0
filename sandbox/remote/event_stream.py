"""Events of a run as a server streams them, from bytes: no I/O, and nothing believed."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from sandbox import events
from sandbox.errors import RemoteFailed, SandboxError
from sandbox.outcome import Artifact, outcome_from_json
from sandbox.remote.faults import NO_ANSWER, told_error

FRAME_CAP_BYTES = 256 * 1024 * 1024
END = b"\n\n"
_ARTIFACT: TypeAdapter[Artifact] = TypeAdapter(Artifact)
_BUNDLE: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


class ToolCalled:
    """The server's snippet calls a function of this process."""

    def __init__(self, call_id: str, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.call_id = call_id
        self.name = name
        self.args = args
        self.kwargs = kwargs


class Frames:
    """Frames of an event stream out of the pieces that it comes in."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Name and data of each frame that `data` completes; comments are dropped."""
        self._buffer += data
        while (end := self._buffer.find(END, max(0, self._searched - 1))) >= 0:
            frame = bytes(self._buffer[:end])
            del self._buffer[: end + len(END)]
            self._searched = 0
            head, _, rest = frame.partition(b"\n")
            if head.startswith(b"event: ") and rest.startswith(b"data: "):
                yield head[7:].decode("ascii", "replace"), rest[6:]
            elif not head.startswith(b":"):
                raise RemoteFailed(self._server, "its stream has a frame that is none", NO_ANSWER)
        self._searched = len(self._buffer)
        if len(self._buffer) > FRAME_CAP_BYTES:
            raise RemoteFailed(self._server, f"it sent a frame of over {FRAME_CAP_BYTES} bytes")


def event_of(server: str, name: str, data: bytes) -> events.Event | ToolCalled:
    """The event of a frame. Raises what an error frame stands for, RemoteFailed for nonsense."""
    try:
        if name == "finished":
            return events.Finished(outcome_from_json(data))
        told = json.loads(data)
        if name == "error":
            raise error_event(server, told)
        return _event(name, told)
    except SandboxError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        problem = f"it sent an event {name[:40]!r} that is none"
        raise RemoteFailed(server, problem, "Is its version that of this client?") from None


def _event(name: str, told: Any) -> events.Event | ToolCalled:
    if name == "started":
        return events.Started(int(told["number"]))
    if name in ("stdout", "stderr"):
        raw = told.get("raw_base64")
        kind = events.Stdout if name == "stdout" else events.Stderr
        return kind(str(told["text"]), None if raw is None else base64.b64decode(raw))
    if name == "displayed":
        replaces = told.get("replaces")
        place = None if replaces is None else int(replaces)
        return events.Displayed(_BUNDLE.validate_python(told["bundle"]), place)
    if name == "cleared":
        return events.Cleared()
    if name == "artifact":
        return events.ArtifactMade(_ARTIFACT.validate_python(told))
    if name == "tool_call":
        args, kwargs = told["args"], told["kwargs"]
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError
        return ToolCalled(str(told["call_id"]), str(told["name"]), args, kwargs)
    raise ValueError


def error_event(server: str, told: Any) -> SandboxError:
    """The exception that an error frame stands for."""
    message, code = str(told["message"]), str(told.get("code") or "")
    param = str(told.get("param") or "")
    return told_error(code, message, param, "") or RemoteFailed(server, message)
