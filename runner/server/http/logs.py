"""Logs: one JSON object a line, tied to its request, without what users and models wrote.

What may hold prompts or code, the text of an unforeseen error included, is left out unless the
owner asks for it by `log_content`.
"""

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

from runner.events import CallDone, CallRunning, Ended, LoopEvent
from runner.transcript import Entry, Question, encodable

LOG = logging.getLogger("cellblock.server")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that the current task works for."""
CONTENT_CHARS = 20_000
ERROR_CHARS = 2_000
FRAMES = 40


class JsonLines(logging.Formatter):
    """A record as one line of ASCII: no text in it can imitate or colour another line."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", None)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if facts is not None else "message",
        }
        if request_id := REQUEST_ID.get():
            line["id"] = request_id
        if facts is None:
            line |= {"logger": record.name, "message": record.getMessage()[:ERROR_CHARS]}
        else:
            line |= facts
        if record.exc_info and record.exc_info[1] is not None and "trace" not in line:
            line["trace"] = trace_of(record.exc_info[1])
        return json.dumps(line, default=str)


def write(event: str, level: int = logging.INFO, **facts: object) -> None:
    """Write one line about `event`."""
    LOG.log(level, event, extra={"facts": facts})


def trace_of(error: BaseException) -> list[str]:
    """Return where `error` came from: types and places, never its text."""
    found: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < FRAMES:
        found.append(type(cause).__name__)
        frames = traceback.extract_tb(cause.__traceback__)
        found += [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        cause = cause.__cause__ or cause.__context__
    return found[:FRAMES]


# ---- content ------------------------------------------------------------------------------------


def question(entries: tuple[Entry, ...]) -> None:
    """Write what the user asked last."""
    asked = [entry.text for entry in entries if isinstance(entry, Question)]
    _content("question", asked[-1] if asked else "")


def content(event: LoopEvent) -> None:
    """Write what `event` holds of a conversation."""
    if isinstance(event, CallRunning):
        _content("call", event.call.arguments, tool=event.call.name)
    elif isinstance(event, CallDone):
        _content("result", event.result.shown, tool=event.call.name)
    elif isinstance(event, Ended):
        _content("answer", "".join(turn.text for turn in event.turns))


def _content(what: str, text: str, *, tool: str = "") -> None:
    named = {"tool": tool} if tool else {}
    write("content", logging.INFO, what=what, text=encodable(text)[:CONTENT_CHARS], **named)
