"""What a delta or a message says: thinking and text, as a string or as parts."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from runner.transcript import Usage, encodable

THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_text")
THOUGHT_PARTS = ("thinking", "reasoning", "reasoning.text", "reasoning.summary", "thought")
INPUT_KEYS = ("prompt_tokens", "input_tokens", "prompt_eval_count")
OUTPUT_KEYS = ("completion_tokens", "output_tokens", "eval_count")
INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


class AnswerPiece(NamedTuple):
    """A piece of what the model wrote."""

    kind: Literal["thought", "text"]
    text: str


def pieces_in(delta: Mapping[str, JsonValue]) -> Iterator[AnswerPiece]:
    """Thinking, then text of `delta`, each as it stands there."""
    thought = next((text for key in THOUGHT_KEYS if (text := all_text(delta.get(key)))), "")
    if not thought:
        thought = all_text(delta.get("reasoning_details"))
    if thought:
        yield AnswerPiece("thought", encodable(thought))
    for one in _parts(delta.get("content")):
        yield AnswerPiece(one.kind, encodable(one.text))
    if refusal := all_text(delta.get("refusal")):
        yield AnswerPiece("text", encodable(refusal))


def _parts(content: JsonValue) -> Iterator[AnswerPiece]:
    if isinstance(content, str):
        if content:
            yield AnswerPiece("text", content)
    elif isinstance(content, list):
        for part in content:
            yield from _parts(part)
    elif isinstance(content, dict):
        kind = content.get("type")
        if kind in THOUGHT_PARTS or (kind is None and "thinking" in content):
            thought = all_text([content.get(key) for key in ("thinking", "reasoning", "summary")])
            if text := thought or all_text(content):
                yield AnswerPiece("thought", text)
        elif url := _image_url(content):
            yield AnswerPiece("text", f"![image]({url})")
        elif text := all_text(content):
            yield AnswerPiece("text", text)


def _image_url(part: Mapping[str, JsonValue]) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""


def all_text(value: JsonValue) -> str:
    """The text in `value`, whatever it is wrapped in."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(all_text, value))
    if isinstance(value, dict):
        keys = ("text", "content", "thinking", "summary", "refusal")
        return next((text for key in keys if (text := all_text(value.get(key)))), "")
    return ""


def usage_of(usage: Mapping[str, JsonValue]) -> Usage:
    """The counts of a usage object, whatever of it is there."""
    return Usage(
        input_tokens=_count(usage, INPUT_KEYS),
        output_tokens=_count(usage, OUTPUT_KEYS),
        reasoning_tokens=_inner(usage, OUTPUT_DETAILS, "reasoning_tokens"),
        cached_tokens=_inner(usage, INPUT_DETAILS, "cached_tokens"),
    )


def _inner(usage: Mapping[str, JsonValue], keys: tuple[str, ...], name: str) -> int:
    found = (usage.get(key) for key in keys)
    return next((_count(one, (name,)) for one in found if isinstance(one, dict)), 0)


def _count(counts: Mapping[str, JsonValue], names: tuple[str, ...]) -> int:
    for name in names:
        found = counts.get(name)
        if isinstance(found, int | float) and 0 <= found < 2**53:
            return int(found)
    return 0
