"""The history of a Jupyter kernel: what was run in it, as its clients ask for it."""

from collections import deque
from fnmatch import fnmatchcase
from typing import Any

KEPT = 1000
CODE_CHARS = 100_000
SESSION = 1
"""A kernel has one history; the protocol numbers them."""
Row = tuple[int, int, Any]


class History:
    """The last cells, oldest first."""

    def __init__(self) -> None:
        self._cells: deque[tuple[int, str, str | None]] = deque(maxlen=KEPT)

    def add(self, number: int, code: str, text: str | None) -> None:
        """Keep a cell and the text of its result."""
        kept = None if text is None else text[:CODE_CHARS]
        self._cells.append((number, code[:CODE_CHARS], kept))

    def find(self, asked: dict[str, Any]) -> list[Row]:
        """The rows that a history request asks for; none for one that is no such request."""
        cells = list(self._cells)
        kind, count = asked.get("hist_access_type"), asked.get("n")
        if kind == "range":
            start, stop = asked.get("start"), asked.get("stop")
            if asked.get("session", 0) not in (0, SESSION):
                return []
            start = start if isinstance(start, int) else 0
            stop = stop if isinstance(stop, int) else None
            cells = [one for one in cells if start <= one[0] and (stop is None or one[0] < stop)]
        elif kind == "search":
            pattern = str(asked.get("pattern") or "*")
            cells = [one for one in cells if fnmatchcase(one[1], pattern)]
            if asked.get("unique") is True:
                last = {code: (number, code, text) for number, code, text in cells}
                cells = sorted(last.values())
        elif kind != "tail":
            return []
        if kind != "range" and isinstance(count, int) and count > 0:
            cells = cells[-count:]
        with_output = asked.get("output") is True
        return [
            (SESSION, number, [code, text] if with_output else code) for number, code, text in cells
        ]
