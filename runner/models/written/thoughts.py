"""ThoughtSplitter: thinking that stands in the text of an answer, taken out of it.

`<think>...</think>` at the start, and text that holds only the closing tag, because the model's
template wrote the opening one into the prompt. A tag that is quoted or spoken of stays text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

PAIRS: Mapping[str, str] = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "◁think▷": "◁/think▷",
}
PAIRS = {opening.lower(): closing.lower() for opening, closing in PAIRS.items()}
OPENINGS, CLOSINGS = tuple(PAIRS), tuple(PAIRS.values())
TAGS = (*OPENINGS, *CLOSINGS)
CLOSING = re.compile("|".join(map(re.escape, CLOSINGS)), re.IGNORECASE)
LONGEST = max(map(len, TAGS))
TAG = re.compile("|".join(map(re.escape, TAGS)), re.IGNORECASE)
FENCE = re.compile(r"[ \t]{0,3}(?:```|~~~)")
QUOTES = "`'\"“”‘’«»「」()（）"
ENDS = ".!?。！？…）)*"
LINE_CHARS = 4000
INNER_CHARS = 200_000
"""How much of a block behind the first words waits for its closing tag; more of it is text."""
Mode = Literal["start", "held", "thinking", "text", "inner"]


class Part(NamedTuple):
    """A piece of the answer."""

    is_thought: bool
    text: str


class ThoughtSplitter:
    """Text of one turn in, thinking and text out.

    With `opened` the text begins inside thinking. With `holds` nothing is given out until it is
    known which of both it is: at a closing tag, at the end, or when it is released.
    """

    def __init__(self, *, opened: bool = False, holds: bool = False) -> None:
        self._mode: Mode = "start"
        self._opened = opened
        self._holds = holds
        self._held = ""
        self._looked = 0
        self._closing = CLOSING
        self._strips = False
        self._inner, self._has_inner = "", True
        self._line = ""
        self._is_fenced = False
        self.has_opened = False
        """Whether the opening tag was there."""
        self.has_lone_close = False
        """Whether a closing tag came without one."""

    @property
    def is_holding(self) -> bool:
        """Whether text waits for it to be known what it is."""
        return self._mode == "held"

    def feed(self, text: str) -> Iterator[Part]:
        """What `text` makes sure."""
        self._held += text
        yield from self._go(is_end=False)

    def finish(self) -> Iterator[Part]:
        """The text is complete."""
        if self.is_holding and not self._close_held(is_end=True):
            yield from self._text_of_held(is_thought=False)
        yield from self._go(is_end=True)

    def release(self) -> Iterator[Part]:
        """Give out what is held, as what it most likely is, and hold nothing from now on."""
        self._holds = False
        if self._mode == "start":
            self._opened = False
        if self.is_holding:
            yield from self._text_of_held(is_thought=self._opened)

    def _text_of_held(self, *, is_thought: bool) -> Iterator[Part]:
        if is_thought:
            self._mode, self._closing = "thinking", CLOSING
        else:
            self._mode = "text"
        yield from self._go(is_end=False)

    def _go(self, *, is_end: bool) -> Iterator[Part]:
        if self._mode == "start":
            self._begin(is_end=is_end)
        if self._mode == "held":
            self._close_held(is_end=is_end)
        if self._mode == "thinking":
            yield from self._thinking(is_end=is_end)
        while self._mode in ("text", "inner"):
            before = self._mode
            inner = before == "inner"
            yield from (self._inner_block if inner else self._text)(is_end=is_end)
            if self._mode == before:
                break

    def _begin(self, *, is_end: bool) -> None:
        begun = self._held.lstrip()
        lower = begun[:LINE_CHARS].lower()
        for opening, closing in PAIRS.items():
            if lower.startswith(opening):
                self._held = begun[len(opening) :]
                self._mode, self._closing = "thinking", _pattern(closing)
                self.has_opened = True
                return
        could_open = any(opening.startswith(lower) for opening in PAIRS)
        if could_open and not is_end:
            return
        if self._holds:
            self._mode = "held"
        elif self._opened and not is_end:
            self._mode = "thinking"
        else:
            self._mode = "text"

    def _close_held(self, *, is_end: bool) -> bool:
        """Whether the held text is thinking, for its closing tag has come."""
        for found in CLOSING.finditer(self._held, self._looked):
            if found.end() == len(self._held) and not is_end:
                return False
            before, after = self._held[: found.start()], self._held[found.end() :]
            if _has_opening(before):
                self._mode = "text"
                return True
            fences = sum(FENCE.match(line) is not None for line in before.split("\n"))
            if fences % 2 == 0 and is_closing(before.rpartition("\n")[2], after):
                self._mode = "thinking"
                self._closing = _pattern(found[0])
                self.has_lone_close = True
                return True
            self._looked = found.end()
        self._looked = max(self._looked, len(self._held) - max(map(len, CLOSINGS)))
        return False

    def _thinking(self, *, is_end: bool) -> Iterator[Part]:
        found = self._closing.search(self._held)
        if found is not None:
            thought, self._held = self._held[: found.start()], self._held[found.end() :]
            self._mode, self._strips = "text", True
            self.has_lone_close = not self.has_opened
        else:
            keep = 0 if is_end else overlap(self._held[-LONGEST:].lower(), CLOSINGS)
            thought = self._held[: len(self._held) - keep]
            self._held = self._held[len(thought) :]
        if thought:
            yield Part(True, thought)

    def _text(self, *, is_end: bool) -> Iterator[Part]:
        if self._strips:
            self._held = self._held.lstrip("\n")
            self._strips = not self._held
        at = 0
        while found := TAG.search(self._held, at):
            if found.end() == len(self._held) and not is_end:
                break
            is_opening = found[0].lower() in PAIRS
            if is_opening and not self._has_inner:
                at = found.end()
                continue
            before, after = self._held[: found.start()], self._held[found.end() :]
            line, is_fenced = self._after(before)
            if is_opening:
                if is_fenced or not _begins_line(line):
                    at = found.end()
                    continue
                if before:
                    yield self._said(before)
                self._inner, self._held, self._looked, self._mode = found[0], after, 0, "inner"
                return
            if not is_fenced and is_closing(line, after):
                # What stood before it is out already: all that is left is not to show the tag.
                self.has_lone_close = True
                if before:
                    yield self._said(before)
                self._held, at = after.lstrip("\n"), 0
                self._strips = not self._held
            else:
                at = found.end()
        keep = 0 if is_end else (len(self._held) - found.start() if found else self._undecided())
        ready = self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        if ready:
            yield self._said(ready)

    def _inner_block(self, *, is_end: bool) -> Iterator[Part]:
        """A block of thinking behind the first words: given out when its closing tag is there."""
        closing = PAIRS[self._inner.lower()]
        found = _pattern(closing).search(self._held, max(self._looked - len(closing), 0))
        if found is not None:
            self.has_opened = True
            thought, self._held = self._held[: found.start()], self._held[found.end() :]
            self._mode, self._strips = "text", True
            yield Part(True, thought)
        elif is_end or len(self._held) > INNER_CHARS:
            # Nothing closes it, so it was no thinking, and no other is looked for.
            text, self._held = self._inner + self._held, ""
            self._mode, self._has_inner = "text", False
            yield self._said(text)
        self._looked = len(self._held)

    def _undecided(self) -> int:
        return overlap(self._held[-LONGEST:].lower(), TAGS)

    def _said(self, text: str) -> Part:
        self._line, self._is_fenced = self._after(text)
        return Part(False, text)

    def _after(self, text: str) -> tuple[str, bool]:
        """The line that is open behind `text`, and whether it is inside a fence."""
        *whole, line = (self._line + text).split("\n")
        fences = sum(FENCE.match(one) is not None for one in whole)
        return line[-LINE_CHARS:], self._is_fenced ^ bool(fences % 2)


def is_closing(line: str, after: str) -> bool:
    """Whether a tag behind `line` and before `after` closes thinking, and is not spoken of."""
    if line.count("`") % 2 or any(opening in line.lower() for opening in OPENINGS):
        return False
    before, behind = line[-1:], after[:1]
    if (before and before in QUOTES and before not in ENDS) or (behind and behind in QUOTES):
        return False
    if not line.strip() or behind in ("", "\n", "\r"):
        return True
    return before in ENDS or (not before.isspace() and not behind.isspace())


def _has_opening(text: str) -> bool:
    """Whether a line of `text` begins with an opening tag."""
    lines = (line.strip().lower() for line in text.split("\n"))
    return any(line.startswith(OPENINGS) for line in lines)


def _begins_line(line: str) -> bool:
    """Whether a tag behind `line` begins a line of its own, and is not spoken of."""
    return not line.strip() and len(line.expandtabs(4)) < 4


def _pattern(tag: str) -> re.Pattern[str]:
    return re.compile(re.escape(tag), re.IGNORECASE)


def overlap(text: str, marks: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may begin one of `marks`."""
    beginnings = _BEGINNINGS.get(marks)
    if beginnings is None:
        found = frozenset(mark[:size] for mark in marks for size in range(1, len(mark)))
        beginnings = _BEGINNINGS[marks] = (found, frozenset(mark[0] for mark in marks))
    known, first = beginnings
    longest = min(max(map(len, known)), len(text))
    for size in range(longest, 0, -1):
        if text[-size] in first and text[-size:] in known:
            return size
    return 0


_BEGINNINGS: dict[tuple[str, ...], tuple[frozenset[str], frozenset[str]]] = {}
"""Kept, because the same few sets of marks are asked for with every word of an answer."""
