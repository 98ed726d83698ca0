"""Lets other threads have their turn while a long look at files is done in one.

A thread that waits for the interpreter's lock asks for it after 5 ms, each time anew, and the
host's loop wants it several times for one snippet of another session. So a thread that lists very
many files rests every millisecond.
"""

import heapq
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

BURST_S = 0.001
REST_S = 0.0001
SORTED_AT_ONCE = 1000
"""Names; sorting more at one go keeps the lock for milliseconds."""

T = TypeVar("T")


class Pace:
    """Called between short steps of a thread's work: rests when it has worked for a while."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._since > BURST_S:
            time.sleep(REST_S)
            self._since = time.monotonic()


class NoPace(Pace):
    """For what is short, on the loop."""

    def __call__(self) -> None:
        """Go on."""


NO_PACE = NoPace()


def paced(items: Iterable[T], pace: Pace) -> Iterator[T]:
    """`items`, with a rest now and then between them."""
    for item in items:
        yield item
        pace()


def in_order(names: Iterable[str], pace: Pace) -> list[str]:
    """`names` sorted, in steps."""
    found = list(names)
    if len(found) <= SORTED_AT_ONCE:
        return sorted(found)
    runs: list[list[str]] = []
    for start in range(0, len(found), SORTED_AT_ONCE):
        runs.append(sorted(found[start : start + SORTED_AT_ONCE]))
        pace()
    merged: list[str] = []
    for name in heapq.merge(*runs):
        merged.append(name)
        pace()
    return merged
