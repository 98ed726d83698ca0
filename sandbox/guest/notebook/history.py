"""What notebooks call the values and sources of earlier snippets: `_`, `__`, `_3`, `Out`, `In`.

They are builtins, so that a variable of the session's by one of these names counts more, and none
of them is listed as a variable. Values are kept for the last few snippets alone: what a session
shows would never be freed else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, overload

from sandbox.guest.language.sources import Sources

VALUES_KEPT = 16


class In(Sequence[str]):
    """Sources of snippets by their number; empty for one that is not kept."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.last = 0

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[at] for at in range(*number.indices(len(self)))]
        at = number + len(self) if number < 0 else number
        if not 0 <= at < len(self):
            raise IndexError(f"there is no snippet {number}")
        return self._sources.text_of(at).removesuffix("\n")

    def __len__(self) -> int:
        return self.last + 1

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __repr__(self) -> str:
        return repr(list(self))


class History:
    """Keeps what snippets echoed where later ones find it, in `names`, the builtins."""

    def __init__(self, names: dict[str, Any], sources: Sources, *, is_whole: bool) -> None:
        self._names = names
        self._is_whole = is_whole
        """Whether there is more than `_`."""
        self._own: Any = None
        self._sources = sources
        self._in = In(sources)
        self._out: dict[int, Any] = {}

    def begin(self, number: int) -> None:
        """Begin with snippet `number`."""
        if self._is_whole and number:
            self._in.last = number
            self._names.setdefault("In", self._in)
            self._names.setdefault("Out", self._out)

    def note(self, number: int, value: object) -> None:
        """Keep what snippet `number` echoed."""
        names = self._names
        if "_" in names and names["_"] is not self._own:
            return  # Another has put it there, such as gettext.install().
        if self._is_whole and number:
            before = self._own if "_" in names else ""
            names["___"], names["__"] = names.get("__", ""), before
            if value is not self._out:
                self._out[number] = names[f"_{number}"] = value
            while len(self._out) > VALUES_KEPT:
                oldest = next(iter(self._out))
                del self._out[oldest]
                names.pop(f"_{oldest}", None)
        self._own = names["_"] = value

    def sources(self, numbers: Sequence[int] = ()) -> list[tuple[int, str]]:
        """Sources of the snippets of these `numbers`, or of all that are kept, by number."""
        wanted = numbers or range(1, self._in.last + 1)
        found = ((number, self._sources.text_of(number).rstrip("\n")) for number in wanted)
        return [(number, text) for number, text in found if text]

    def forget(self) -> None:
        """Forget every value."""
        for name in ("_", "__", "___", *(f"_{number}" for number in self._out)):
            self._names.pop(name, None)
        self._out.clear()
        self._own = None
