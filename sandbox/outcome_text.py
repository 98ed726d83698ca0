"""Fits parts of a text into a budget of characters, as models are shown outcomes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

LEAST_CHARS = 200
CUT = "\n[... {count} characters left out ...]\n"
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n\r])")
"""A terminal shows only what follows the last carriage return of a line."""


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
    """Leave out what a carriage return has overwritten, and line ends at the end."""
    return _OVERWRITTEN.sub("", text).rstrip("\n")
