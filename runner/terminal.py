"""Guest text on its way to the user: a terminal must never obey what a snippet wrote.

A pipe or a file gets the text as it is. A terminal gets colours, line ends and tabs; every other
control is shown as text, such as `\\x1b`: by escape sequences a snippet could write to the
clipboard, type into the shell, or paint over what the engine wrote.
"""

import io
import os
import re
from typing import Literal, TextIO

CONTROLS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"  # without a width, or changing the direction of what follows
    "\ud800-\udfff"
    "]"
)
COLOUR = re.compile(r"\x1b\[[0-9;:]{0,32}m|\r")
"""What a terminal may obey of streamed output. Source: ECMA-48, SGR."""
HALF_COLOUR = re.compile(r"\x1b(\[[0-9;:]{0,32})?\Z")
RESET = "\x1b[0m"

View = Literal["raw", "colours", "plain"]
"""As it came; for a terminal; for a front end whose own words stand between the guest's."""


def escaped(text: str) -> str:
    """`text` with nothing in it that a terminal would obey but line ends and tabs."""
    return CONTROLS.sub(_spelt, text)


def one_line(text: str) -> str:
    """`text` as part of a line: its line ends and tabs are escaped too."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def _spelt(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def drop(stream: TextIO) -> None:
    """Point a stream nowhere, or the interpreter would complain when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class GuestWriter:
    """Writes what a snippet wrote to `stream`, at once; by default as the stream needs it."""

    def __init__(self, stream: TextIO, view: View | None = None) -> None:
        self._stream = stream
        self._view: View = view or ("colours" if stream.isatty() else "raw")
        self._held = ""
        self._has_colour = False
        self.is_at_line_start = True

    def write(self, text: str, raw: bytes | None = None) -> None:
        """Write the next part of a stream; parts may split an escape sequence.

        `raw` are its bytes where `text` does not tell them: a pipe or a file gets those.
        """
        if self._view == "raw" and raw is not None:
            self._put_bytes(raw)
            return
        if self._view == "colours":
            text = self._coloured(text)
        elif self._view == "plain":
            text = escaped(text.replace("\r\n", "\n").replace("\r", "\n"))
        self._put(text)

    def finish(self) -> None:
        """Show what was held back, and take the snippet's colours off: it is over."""
        rest, self._held = escaped(self._held), ""
        self._put(rest + RESET if self._has_colour else rest)
        self._has_colour = False

    def write_line(self, text: str) -> None:
        """Write `text` on lines of its own."""
        self.finish()
        self.write(f"{'' if self.is_at_line_start else chr(10)}{text.removesuffix(chr(10))}\n")

    def _coloured(self, text: str) -> str:
        text = self._held + text
        half = HALF_COLOUR.search(text)
        self._held = half[0] if half else ""
        if half:
            text = text[: half.start()]
        shown, start = [], 0
        for found in COLOUR.finditer(text):
            shown += [escaped(text[start : found.start()]), found[0]]
            start = found.end()
            self._has_colour |= found[0] != "\r"
        return "".join([*shown, escaped(text[start:])])

    def _put(self, text: str) -> None:
        was_at_line_start = self.is_at_line_start
        self._put_bytes(text.encode("utf-8", "backslashreplace"))
        if text == RESET:
            self.is_at_line_start = was_at_line_start

    def _put_bytes(self, data: bytes) -> None:
        if not data:
            return
        if isinstance(self._stream, io.TextIOWrapper):
            # Around the text layer: it would turn line ends and refuse what its encoding lacks.
            self._stream.flush()
            self._stream.buffer.write(data)
        else:
            self._stream.write(data.decode(errors="backslashreplace"))
        self._stream.flush()
        self.is_at_line_start = data.endswith(b"\n")
