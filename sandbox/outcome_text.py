"""Fits parts of a text into a budget of characters, as models are shown outcomes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

LEAST_CHARS = 200
CUT = "\n[... {count} characters left out ...]\n"
_ERASED = re.compile("\x1b\\[[0-2]?K")
"""How a line, or the rest of it, is erased."""


class Part(NamedTuple):
    """A piece of the text; a larger `weight` keeps more of it when there is too much."""

    title: str
    text: str
    weight: int


def fit(all_parts: Iterable[Part], max_chars: int) -> str:
    """Join the parts that have text, in at most `max_chars` characters, 200 at least."""
    budget = max(max_chars, LEAST_CHARS)
    parts = [part for part in all_parts if part.text]
    left = budget - sum(len(part.title) + 2 for part in parts)
    pieces = []
    for index, part in enumerate(parts):
        weights = sum(later.weight for later in parts[index:])
        text = shortened(part.text, max(0, left * part.weight // weights))
        left -= len(text)
        pieces.append(f"{part.title}{text}" if part.title else text)
    return shortened("\n".join(pieces), budget)


def shortened(text: str, budget: int) -> str:
    """`text` in at most `budget` characters: its beginning and its end, and a count of the rest."""
    if len(text) <= budget:
        return text
    room = budget - len(CUT.format(count=len(text)))
    if room <= 0:
        return text[:budget]
    head, tail = room * 2 // 3, room - room * 2 // 3
    count = len(text) - head - tail
    return text[:head] + CUT.format(count=count) + text[len(text) - tail :]


def as_on_a_terminal(text: str) -> str:
    """Leave out what carriage returns and backspaces overwrote, and line ends at the end."""
    if "\r" in text or "\b" in text or "\x1b" in text:
        text = "\n".join(map(_line_on_a_terminal, text.replace("\r\n", "\n").split("\n")))
    return text.rstrip("\n")


def _line_on_a_terminal(line: str) -> str:
    """What is seen of `line` at its end: each carriage return starts it anew, over what is there.

    Read from the end, so that each character is looked at once.
    """
    seen = ""
    for part in reversed(line.split("\r")):
        erases = _ERASED.search(part)
        part = _ERASED.sub("", part)
        if "\b" in part:
            part = _without_backspaces(part)
        seen += part[len(seen) :]
        if erases is not None:
            break
    return seen


def _without_backspaces(part: str) -> str:
    cells: list[str] = []
    at = 0
    for character in part:
        if character == "\b":
            at = max(0, at - 1)
        else:
            cells[at : at + 1] = character
            at += 1
    return "".join(cells)
