"""A request's JSON as Chat Completions has it."""

import json
from collections.abc import Iterator

from runner.models.port import ToolSpec
from runner.transcript import Entry, FunctionResult, Instruction, Question, ToolCall, Turn


def messages_of(entries: tuple[Entry, ...]) -> Iterator[dict[str, object]]:
    """`entries` as Chat Completions messages; instructions become one system message first."""
    given = [one for one in entries if isinstance(one, Instruction) and one.text]
    if given:
        names = {one.name for one in given}
        name = names.pop() if len(names) == 1 else ""
        words = (f"{one.name}: {one.text}" if one.name and not name else one.text for one in given)
        yield {"role": "system", "content": "\n\n".join(words), **_named(name)}
    for entry in entries:
        if isinstance(entry, Question):
            yield {"role": "user", "content": _content(entry), **_named(entry.name)}
        elif isinstance(entry, Turn):
            yield from _turn_messages(entry)
        elif isinstance(entry, FunctionResult):
            yield {"role": "tool", "tool_call_id": entry.call_id, "content": entry.text}


def _content(entry: Question) -> str | list[dict[str, object]]:
    if entry.parts:
        return [dict(part) for part in entry.parts]
    if not entry.images:
        return entry.text
    parts: list[dict[str, object]] = [{"type": "text", "text": entry.text}] if entry.text else []
    return parts + [{"type": "image_url", "image_url": {"url": url}} for url in entry.images]


def _named(name: str) -> dict[str, object]:
    return {"name": name} if name else {}


def _turn_messages(turn: Turn) -> Iterator[dict[str, object]]:
    message: dict[str, object] = {"role": "assistant", "content": turn.text, **_named(turn.name)}
    if turn.calls:
        message["tool_calls"] = [call_json(call) for call in turn.calls]
    yield message
    for result in turn.results:
        yield {"role": "tool", "tool_call_id": result.call_id, "content": result.shown}


def call_json(call: ToolCall) -> dict[str, object]:
    """A call of an earlier turn. Some servers fail on arguments that are no JSON object."""
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    arguments = call.arguments if is_object else "{}"
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def tool_json(tool: ToolSpec) -> dict[str, object]:
    """A tool as Chat Completions describes it."""
    return {"type": "function", "function": tool.model_dump(mode="json", exclude_none=True)}


def choice_json(choice: str) -> str | dict[str, object]:
    """`tool_choice` on the wire."""
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}
