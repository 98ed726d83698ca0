"""Arguments of tool calls: the JSON that a model wrote, or nearly wrote.

`read` gives an object for anything that can be understood and says in words what was wrong with
the rest. `StringStream` gives the value of the first key while it is still being written.
"""

import json
import re
from typing import NamedTuple

import json_repair
from pydantic import JsonValue

from runner.transcript import encodable

LONGEST_CHARS = 4_000_000
FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(?P<code>.*?)\n?\s*(?:```\s*)?\Z", re.DOTALL)
DEEPEST = 64


class Arguments(NamedTuple):
    """What could be read; `problem` is empty, or what to tell the model when nothing could."""

    values: dict[str, JsonValue]
    problem: str = ""
    was_repaired: bool = False


def read(text: str, *, main: str) -> Arguments:
    """Return the arguments in `text`; `main` is the one that a bare text can only mean."""
    if len(text) > LONGEST_CHARS:
        return Arguments({}, f"The arguments have {len(text)} characters; send less.")
    if not text.strip():
        return Arguments({}, f"The arguments are empty. Send a JSON object with {main!r}.")
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _nearly(text, main)
    if isinstance(found, str):
        # An object that was encoded twice, or the value alone.
        try:
            inner = json.loads(found, strict=False)
        except (ValueError, RecursionError):
            inner = None
        found = inner if isinstance(inner, dict) else {main: found}
    if not isinstance(found, dict):
        return Arguments(
            {}, f"The arguments are a JSON {_kind(found)}. Send an object with {main!r}."
        )
    stream = StringStream(main)
    stream.feed(text)
    if stream.has_begun:
        # Of a key that is there twice the first one was given out while it was written.
        found[main] = stream.value
    return Arguments(found)


def _nearly(text: str, main: str) -> Arguments:
    stream = StringStream(main)
    stream.feed(text)
    if stream.has_begun:
        return Arguments({main: stream.value}, was_repaired=True)
    stripped = text.lstrip()
    if fenced := FENCE.match(text):
        inner = _object(fenced["code"])
        if main in inner:
            return Arguments(inner, was_repaired=True)
        return Arguments({main: fenced["code"]}, was_repaired=True)
    if stripped[:1] not in "{[\"'":
        return Arguments({main: text}, was_repaired=True)
    found = repaired(text)
    if isinstance(found, dict) and isinstance(found.get(main), str | list):
        return Arguments(found, was_repaired=True)
    return Arguments(
        {},
        f"The arguments are no JSON object with {main!r}: {_first_fault(text)}. Send them again.",
    )


def _object(text: str) -> dict[str, JsonValue]:
    """The object that `text` is; an empty one otherwise."""
    try:
        found: JsonValue = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def repaired(text: str) -> JsonValue:
    """Return what JSON `text` was probably meant to be; None when there is no telling."""
    if text.count("{") + text.count("[") > DEEPEST * 16:
        return None
    try:
        # Written and read again: what it gives is not always plain JSON.
        found: JsonValue = json.loads(json.dumps(json_repair.loads(text)))
    except (ValueError, RecursionError, TypeError):
        return None
    return found


def _first_fault(text: str) -> str:
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    except RecursionError:
        return "too deeply nested"
    return "the key is missing"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", list: "array"}.get(
        type(value), type(value).__name__
    )


# ---- while it is written ------------------------------------------------------------------------

ESCAPE_TAIL = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
HIGH_TAIL = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
PIECE = re.compile(r'[^"\\]+|\\.|\\\Z', re.DOTALL)


class StringStream:
    """The string under `key` of a JSON object, as its text arrives.

    Only when the object begins with that key: what was given out is then the start of the
    value, whatever follows. Escapes are decoded, also those that are split between two pieces.
    """

    def __init__(self, key: str) -> None:
        self._opening = re.compile(rf'\s*\{{\s*"{re.escape(key)}"\s*:\s*"')
        self._start = f'{{"{key}":"'
        self._head = ""
        self._raw = ""
        self._given: list[str] = []
        self.has_begun = False
        self.has_ended = False

    @property
    def value(self) -> str:
        """All that `feed` gave out."""
        return "".join(self._given)

    def feed(self, text: str) -> str:
        """Return the next piece of the value that `text` completes; often empty."""
        if self.has_ended:
            return ""
        if not self.has_begun:
            self._head += text
            opened = self._opening.match(self._head)
            if opened is None:
                self.has_ended = not self._start.startswith("".join(self._head.split()))
                return ""
            self.has_begun = True
            text, self._head = self._head[opened.end() :], ""
        self._raw += text
        ready, self._raw = self._split()
        piece = encodable(_decoded(ready))
        if piece:
            self._given.append(piece)
        return piece

    def _split(self) -> tuple[str, str]:
        """Return the part of the raw text that is whole, and what to hold back."""
        end = 0
        while end < len(self._raw):
            if self._raw[end] == '"':
                self.has_ended = True
                return self._raw[:end], ""
            found = PIECE.match(self._raw, end)
            assert found is not None
            end = found.end()
        held = HIGH_TAIL.search(self._raw) or ESCAPE_TAIL.search(self._raw)
        if held is None or _is_escaped(self._raw, held.start()):
            return self._raw, ""
        return self._raw[: held.start()], self._raw[held.start() :]


def _is_escaped(text: str, at: int) -> bool:
    """Return whether the backslash at `at` is itself the second half of an escape."""
    before = at
    while before and text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1


def _decoded(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        # An escape that JSON does not have, such as \d in a pattern: it means itself.
        fixed = re.sub(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|(.?))', _mended, raw, flags=re.DOTALL)
        return str(json.loads(f'"{fixed}"', strict=False))


def _mended(found: re.Match[str]) -> str:
    if found[1]:
        return found[0]
    return "\\\\" + (found[2] or "")
