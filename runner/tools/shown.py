"""What a model is shown of a result: short enough for its context, honest about the rest."""

from typing import NamedTuple

LEAST_CHARS = 200


class Shown(NamedTuple):
    """Text for the model, and whether something went wrong or nothing was printed."""

    text: str
    is_error: bool = False
    is_silent: bool = False


def shorten(text: str, budget: int, *, dropped_bytes: int = 0) -> str:
    """`text` within about `budget` characters: its head, its tail, and counts of the rest.

    Cut at line ends where there is one near. `dropped_bytes` were already left out of its middle.
    """
    budget = max(budget, LEAST_CHARS)
    if len(text) <= budget:
        if dropped_bytes:
            return f"{text}\n[{dropped_bytes} bytes of this output were not kept]"
        return text
    head = _cut_back(text[: budget * 2 // 3])
    tail = _cut_forward(text[len(text) - budget // 3 :])
    left_out = text[len(head) : len(text) - len(tail)]
    lines = left_out.count("\n")
    counts = (
        f"{len(left_out)} characters, {lines} lines" if lines else f"{len(left_out)} characters"
    )
    more = f", and {dropped_bytes} bytes that were not kept" if dropped_bytes else ""
    whole = f"{len(text)} characters, {text.count(chr(10)) + 1} lines"
    return f"{head.rstrip()}\n[... {counts} left out{more}; in all {whole} ...]\n{tail.lstrip()}"


def _cut_back(head: str) -> str:
    at = head.rfind("\n", len(head) * 3 // 4)
    return head[: at + 1] if at >= 0 else head


def _cut_forward(tail: str) -> str:
    at = tail.find("\n", 0, len(tail) // 4)
    return tail[at + 1 :] if at >= 0 else tail
