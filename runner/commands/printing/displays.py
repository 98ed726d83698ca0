"""What a snippet showed beside its text, and where it goes when there is no page to show it on."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from pathlib import Path

from sandbox import Displayed

SUFFIXES = {  # what is worth a file      and its name's end; the first that a bundle has is saved
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/svg+xml": ".svg",
    "text/html": ".html",
    "application/json": ".json",
}
BINARY = ("image/png", "image/jpeg")


def without_echo(shown: Iterable[Displayed], echo: str | None) -> list[Displayed]:
    """`shown` without the rich form of the echo, which comes as text by itself."""
    left = list(shown)
    for index in range(len(left) - 1, -1, -1):
        if echo is not None and left[index].bundle.get("text/plain") == echo:
            del left[index]
            break
    return left


def kinds(shown: Sequence[dict[str, str]]) -> list[str]:
    """Return the richest type of each bundle that is more than text."""
    found = (next((mime for mime in SUFFIXES if mime in bundle), "") for bundle in shown)
    return [mime for mime in found if mime]


def save(bundle: dict[str, str], directory: Path, name: str) -> Path | None:
    """Write the richest form of `bundle` to a new file `name`; None if it is text alone."""
    for mime, suffix in SUFFIXES.items():
        if mime not in bundle:
            continue
        try:
            data = base64.b64decode(bundle[mime]) if mime in BINARY else bundle[mime].encode()
        except (binascii.Error, ValueError):
            return None  # A guest may say that anything is a picture.
        path = directory / f"{name}{suffix}"
        with path.open("xb") as stream:
            stream.write(data)
        return path
    return None
