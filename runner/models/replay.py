"""Record any upstream to a file of JSON lines; replay it without a network, the same each time.

A line holds one request and the events that answered it. A replay knows an exchange by its
request: equal requests get their recorded answers in turn, and one that was never recorded fails
with the difference to the nearest that was.
"""

import asyncio
import difflib
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from runner.errors import RecordingError, ReplayMismatch
from runner.events import ReasoningDelta, TextDelta
from runner.models.port import CallDelta, Model, ModelEvent, ModelRequest, TurnEnded, UsageSeen
from runner.transcript import Record, Turn, compact

DIFF_LINES = 60
KINDS: Mapping[str, type[ModelEvent]] = {
    "thinking": ReasoningDelta,
    "text": TextDelta,
    "call": CallDelta,
    "usage": UsageSeen,
    "end": TurnEnded,
}
NAMES = {kind: name for name, kind in KINDS.items()}
ADAPTERS: Mapping[str, TypeAdapter[ModelEvent]] = {
    name: TypeAdapter(kind) for name, kind in KINDS.items()
}


class Exchange(Record):
    """One request, as `canonical` gives it, and its answer."""

    request: Mapping[str, JsonValue]
    events: tuple[tuple[str, Mapping[str, JsonValue]], ...]


def canonical(request: ModelRequest) -> dict[str, JsonValue]:
    """What makes two requests the same, as JSON: all that the model reads, and nothing else."""
    entries: list[JsonValue] = []
    for entry in request.entries:
        data = entry.model_dump(mode="json", exclude_defaults=True)
        data["role"] = entry.role
        if isinstance(entry, Turn):
            data.pop("reasoning", None)
            if entry.results:
                data["results"] = [
                    {"call_id": result.call_id, "tool": result.tool, "shown": result.shown}
                    for result in entry.results
                ]
        entries.append(data)
    sampling = request.sampling.model_dump(
        mode="json", exclude_defaults=True, exclude={"passed_on"}
    )
    return {
        "entries": entries,
        "tools": [tool.name for tool in request.tools],
        "tool_choice": request.tool_choice,
        "max_tokens": request.max_tokens,
        "thinking": request.thinking,
        **({"sampling": sampling} if sampling else {}),
    }


def event_json(event: ModelEvent) -> tuple[str, dict[str, JsonValue]]:
    """An event as a recording holds it."""
    if isinstance(event, UsageSeen):
        return "usage", {"usage": event.usage.model_dump(mode="json", exclude_defaults=True)}
    return NAMES[type(event)], {key: value for key, value in asdict(event).items() if value != ""}


def event_of(name: str, data: Mapping[str, JsonValue]) -> ModelEvent:
    """The event that a recording holds. Raises KeyError, ValueError."""
    if name in ("thinking", "text"):
        data = {"text": "", **data}
    return ADAPTERS[name].validate_python(data)


def exchange_line(request: ModelRequest, events: Sequence[ModelEvent]) -> str:
    """One line of a recording."""
    return compact({"request": canonical(request), "events": [event_json(one) for one in events]})


class Recorder:
    """Passes `inner` through and appends each whole exchange to `path`."""

    def __init__(self, inner: Model, path: Path) -> None:
        self._inner = inner
        self._path = path
        self._writing = asyncio.Lock()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """What `inner` streams. Only an answer that came to its end is recorded."""
        events: list[ModelEvent] = []
        async with aclosing(self._inner.stream(request)) as source:
            async for event in source:
                events.append(event)
                yield event
        async with self._writing:
            await asyncio.to_thread(_append, self._path, exchange_line(request, events))

    async def close(self) -> None:
        await self._inner.close()


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


class Replay:
    """Answers from a recording. `pace_s` is slept before each event, for tests of slow models."""

    def __init__(self, exchanges: Sequence[Exchange], *, name: str, pace_s: float = 0.0) -> None:
        self._name = name
        self._pace_s = pace_s
        self._requests = [dict(exchange.request) for exchange in exchanges]
        self._answers: dict[str, list[tuple[ModelEvent, ...]]] = defaultdict(list)
        self._served: dict[str, int] = defaultdict(int)
        for number, exchange in enumerate(exchanges, 1):
            try:
                events = tuple(event_of(name, data) for name, data in exchange.events)
            except (KeyError, ValueError) as error:
                raise RecordingError(name, number, f"unreadable event: {error}") from error
            self._answers[_digest(exchange.request)].append(events)

    @classmethod
    def load(cls, path: Path, *, pace_s: float = 0.0) -> "Replay":
        """The recording in the file `path`. Raises RecordingError."""
        exchanges = []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise RecordingError(path.name, 0, error.strerror or "cannot be read") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                exchanges.append(Exchange.model_validate_json(line))
            except ValidationError as error:
                raise RecordingError(path.name, number, str(error.errors()[0]["msg"])) from error
        return cls(exchanges, name=path.name, pace_s=pace_s)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The recorded answer. Raises ReplayMismatch."""
        asked = canonical(request)
        digest = _digest(asked)
        answers = self._answers.get(digest)
        if answers is None:
            raise ReplayMismatch(self._name, self._diff(asked))
        turn = self._served[digest]
        self._served[digest] += 1
        for event in answers[turn % len(answers)]:
            if self._pace_s:
                await asyncio.sleep(self._pace_s)
            yield event

    async def close(self) -> None:
        """Close nothing: nothing is held."""

    def _diff(self, asked: Mapping[str, JsonValue]) -> str:
        if not self._requests:
            return "the recording is empty"
        wanted = _lines(asked)
        best = max(self._requests, key=lambda request: _likeness(_lines(request), wanted))
        lines = list(
            difflib.unified_diff(_lines(best), wanted, "recorded", "asked", n=2, lineterm="")
        )
        if len(lines) > DIFF_LINES:
            lines = [*lines[:DIFF_LINES], f"... {len(lines) - DIFF_LINES} more lines"]
        return "\n".join(lines)


def _digest(request: Mapping[str, JsonValue]) -> str:
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _likeness(lines: list[str], wanted: list[str]) -> tuple[float, float]:
    """How much two requests are the same: by whole lines, then by their letters."""
    by_line = difflib.SequenceMatcher(None, lines, wanted, autojunk=False)
    by_letter = difflib.SequenceMatcher(None, "".join(lines), "".join(wanted), autojunk=False)
    return by_line.ratio(), by_letter.quick_ratio()


def _lines(request: Mapping[str, JsonValue]) -> list[str]:
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, indent=1)
    return text.replace("\\n", "\\n\n").split("\n")
