"""Where warnings are said to come from: the snippet that causes them, each time it does.

Python shows a warning once for each line of source. A session has many lines 1, and a reader of
its fifth snippet has not read the first: what was shown is forgotten before each snippet. A
warning of the engine's own lines, on which it calls what a snippet made, is the snippet's.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

from sandbox.guest.display.tracebacks import is_engine
from sandbox.guest.language.code_origin import SNIPPET_FILE

GLYPH = re.compile(r"Glyph (\d+) \(.*?\) missing from (?:current )?font")
GLYPHS_NAMED = 40
NO_FONT = (
    "no font here has the characters {characters}: they are drawn as boxes. Write such texts in"
    " another script, or have a font installed that has them (Debian: fonts-noto-cjk)"
)

_show = getattr(warnings, "_showwarnmsg", None)


class Drawing:
    """What was warned of while a figure was drawn."""

    def __init__(self, collected: list[Any]) -> None:
        self._collected = collected

    def lacks_glyphs(self) -> bool:
        return any(GLYPH.match(str(warning.message)) for warning in self._collected)

    def forget(self) -> None:
        """Forget what the figure warned of: it is drawn anew."""
        self._collected.clear()


class Warned:
    """Gives each warning a place in the snippet that runs now."""

    def __init__(self) -> None:
        self._file = ""
        self._last_line = 1
        self._collected: list[Any] | None = None
        self._collector = 0
        self._logged: set[str] = set()
        self._has_shown = True
        """Whether the interpreter may remember a warning: what it has shown once, or a preload."""
        self._hook = self._show
        if _show is not None:
            # C code looks this name up for each warning.
            warnings._showwarnmsg = self._hook  # type: ignore[attr-defined]

    def is_news(self, record: Any) -> bool:
        """Whether this snippet has not logged the same yet: a filter for chatty loggers."""
        message = record.getMessage()
        if message in self._logged:
            return False
        self._logged.add(message)
        return True

    def begin(self, file: str, last_line: int) -> None:
        """Begin with a snippet that has caused no warning yet."""
        self._logged.clear()
        self._file, self._last_line = file, last_line
        if not self._has_shown and getattr(warnings, "_showwarnmsg", None) is self._hook:
            return
        self._has_shown = False
        # A snippet may have taken the module apart. Entering bars what was remembered so far.
        with suppress(Exception), warnings.catch_warnings():
            pass

    @contextmanager
    def drawing(self) -> "Iterator[Drawing]":
        """Show what is warned of inside once at the end: a figure is drawn more than once."""
        collected: list[Any] = []
        self._collected, self._collector = collected, get_ident()
        try:
            yield Drawing(collected)
        finally:
            self._collected = None
            missing: dict[str, None] = {}
            texts = set()
            for warning in collected:
                text = str(warning.message)
                glyph = GLYPH.match(text)
                if glyph:
                    missing[chr(int(glyph[1]))] = None
                    continue
                if (warning.category, text) not in texts:
                    texts.add((warning.category, text))
                    self._show(warning)
            if missing:
                characters = "".join(missing)[:GLYPHS_NAMED]
                first = next(each for each in collected if GLYPH.match(str(each.message)))
                first.message = first.category(NO_FONT.format(characters=characters))
                self._show(first)

    def _show(self, warning: Any) -> None:
        assert _show is not None
        self._has_shown = True
        if self._collected is not None and get_ident() == self._collector:
            self._collected.append(warning)
            return
        if is_engine(warning.filename):
            warning.filename, warning.lineno = self._place()
            warning.line = None
        _show(warning)

    def _place(self) -> tuple[str, int]:
        """The line of a snippet that runs now; the last line of it when none does any more."""
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_filename.startswith(SNIPPET_FILE):
                return frame.f_code.co_filename, frame.f_lineno
        return self._file, self._last_line
