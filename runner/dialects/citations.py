"""Citations: where an answer links to the files that code made.

Models write a link with the name as it is, or percent-encoded, or with some of it encoded; and the
name of one file may begin that of another. So a link is matched to each file's path letter by
letter, and the file whose path reaches farthest is meant. A Markdown link may be relative, and have
a backslash before a sign that would mean something else.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LINK = re.compile(
    r"sandbox:/{0,3}(?:mnt/data/)?|(?<=\]\()(?:(?:file:/{0,2})?/mnt/data/|attachment:/{0,2}|(?:\./)?)",
    re.IGNORECASE,
)
ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
ESCAPED = frozenset("\\`*_{}[]()#+-.!~|<>&%")
ENDS = frozenset(")]}>\"'`|*,;:!?、。，；：！？）」』》”’")


class Span(NamedTuple):
    """Where a link stands in the text."""

    start: int
    end: int


def spans_of(text: str, paths: Iterable[str]) -> Mapping[str, Span]:
    """The first link in `text` to each of `paths`; those without one are left out."""
    known = tuple(paths)
    found: dict[str, Span] = {}
    for link in LINK.finditer(text):
        ends = [(end, path) for path in known if (end := path_end(text, link.end(), path))]
        if not ends:
            continue
        end, path = max(ends, key=lambda one: (one[0], text.startswith(one[1], link.end())))
        found.setdefault(path, Span(link.start(), end))
    return found


def path_end(text: str, at: int, path: str) -> int:
    """Where `path`, encoded or not, ends in `text` behind `at`; 0 if it does not stand there."""
    for form in dict.fromkeys((path, *(unicodedata.normalize(f, path) for f in ("NFC", "NFD")))):
        end = _end(text, at, form)
        if end and _is_whole(text, end):
            return end
    return 0


def _end(text: str, at: int, path: str) -> int:
    for letter in path:
        if text.startswith(letter, at) and letter != "%":
            at += 1
            continue
        if letter in ESCAPED and text.startswith(f"\\{letter}", at):
            at += 2
            continue
        encoded = "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape"))
        if text[at : at + len(encoded)].upper() == encoded:
            at += len(encoded)
        elif text.startswith(letter, at):
            at += 1
        else:
            return 0
    return at


def _is_whole(text: str, end: int) -> bool:
    """Whether the name ends here, and is not the beginning of a longer one."""
    behind = text[end : end + 1]
    if not behind or behind.isspace() or behind in ENDS or behind in "#&\\":
        return True
    if behind in ".-_" or ENCODED.match(text, end):
        # A full stop behind a link, unless more of a name comes.
        after = text[end + 1 : end + 2]
        return behind == "." and (not after or after.isspace() or after in ENDS)
    return not behind.isalnum() and behind != "/"
