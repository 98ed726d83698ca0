"""ObjectScanner: where a JSON object ends whose text arrives in pieces."""

import re
from typing import Literal

IN_TEXT = re.compile(r'["\\]')
OUTSIDE = re.compile(r'["{}\[\]]')
BEFORE_VALUE = (":", ",", "[")
State = Literal["unbegun", "open", "whole", "other"]


class ObjectScanner:
    """Brackets and texts of one object, each character looked at once."""

    def __init__(self) -> None:
        self._state: State = "unbegun"
        self._depth = 0
        self._is_in_text = self._is_escaped = False
        self._last = ""

    @property
    def is_open(self) -> bool:
        """Whether an object has begun and not ended."""
        return self._state == "open"

    @property
    def is_whole(self) -> bool:
        """Whether the object has ended."""
        return self._state == "whole"

    @property
    def ends_in_text(self) -> bool:
        """Whether what came so far ends inside a string of the object."""
        return self._state == "open" and self._is_in_text

    def may_go_on(self, text: str) -> bool:
        """Whether the open object can have `text`, which begins one, inside it."""
        return self._is_in_text or self._last in BEFORE_VALUE or not text.lstrip().startswith("{")

    def may_begin(self, text: str) -> bool:
        """Whether `text` can only be the start of another object."""
        return text.lstrip().startswith("{") and not self.may_go_on(text)

    def spoil(self) -> None:
        """Note that more came behind the end: it was no JSON object after all."""
        self._state = "other"

    def feed(self, text: str) -> int | None:
        """Where in `text` the object ends; 0 if it had ended before, None while it has not."""
        if self._state == "whole":
            return 0
        at = 0
        if self._state == "unbegun":
            at = len(text) - len(text.lstrip())
            if at == len(text):
                return None
            self._state = "open" if text[at] == "{" else "other"
        if self._state == "other":
            return None
        end = self._scan(text, at)
        if not self._is_in_text:
            self._last = text.rstrip()[-1:] or self._last
        return end

    def _scan(self, text: str, at: int) -> int | None:
        if self._is_escaped and text:
            self._is_escaped = False
            at += 1
        while found := (IN_TEXT if self._is_in_text else OUTSIDE).search(text, at):
            at, mark = found.end(), found[0]
            if mark == "\\":
                self._is_escaped = at == len(text)
                at += 1
            elif mark == '"':
                self._is_in_text = not self._is_in_text
            elif mark in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._state = "whole"
                    return at
        return None


def ends_in_text(arguments: str) -> bool:
    """Whether an object in `arguments` breaks off inside one of its strings."""
    scanner = ObjectScanner()
    scanner.feed(arguments)
    return scanner.ends_in_text
