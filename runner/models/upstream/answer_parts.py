"""What a delta or a message says: thinking and text, as a string or as parts."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from runner.transcript import Usage, encodable

THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_text")
THOUGHT_PARTS = ("thinking", "reasoning", "reasoning.text", "reasoning.summary", "thought")
CALL_KEYS = ("tool_calls", "tool_call", "toolCalls", "function_calls")
CALL_PARTS = ("tool_use", "tool_call", "toolCall", "function_call", "functionCall")
"""Parts of a content list that are calls."""
SURROGATE = re.compile("[\ud800-\udfff]")
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
        thought = all_text([delta.get("reasoning_details"), delta.get("thinking_blocks")])
    if thought:
        yield AnswerPiece("thought", thought)
    yield from _parts(delta.get("content"))
    if refusal := all_text(delta.get("refusal")):
        yield AnswerPiece("text", refusal)
    audio = delta.get("audio")
    if isinstance(audio, dict) and (spoken := all_text(audio.get("transcript"))):
        yield AnswerPiece("text", spoken)
    images = delta.get("images")
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and (url := _image_url(image)):
            yield AnswerPiece("text", f"![image]({url})")


def calls_in(message: Mapping[str, JsonValue]) -> JsonValue:
    """What `message` holds of calls, under whichever name and in whichever place."""
    for key in CALL_KEYS:
        if found := message.get(key):
            return found
    old = message.get("function_call")
    if isinstance(old, dict) and old:
        return [{"index": 0, **old}]
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, dict) and part.get("type") in CALL_PARTS]


class HalfHolder:
    """Joins characters that an endpoint cut in two: the halves of a surrogate pair."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """`text` behind what was held, without a first half at its end, fit to be encoded."""
        text, self._half = self._half + text, ""
        if text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return encodable(text)

    def rest(self) -> str:
        """What is still held at the end."""
        half, self._half = self._half, ""
        return encodable(half)


def _parts(content: JsonValue) -> Iterator[AnswerPiece]:
    if isinstance(content, str):
        if content:
            yield AnswerPiece("text", content)
    elif isinstance(content, list):
        for part in content:
            yield from _parts(part)
    elif isinstance(content, dict):
        kind = content.get("type")
        if kind in CALL_PARTS:
            return
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
        keys = ("text", "content", "thinking", "summary", "refusal", "value")
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
