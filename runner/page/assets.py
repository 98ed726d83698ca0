"""Assets: the page's built files in memory, each with its type, its hash and a compressed twin."""

import gzip
import hashlib
import importlib.resources
from dataclasses import dataclass
from functools import cache

FOLDER = "built"
DOCUMENT = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
HASH_CHARS = 16
NONCE_MARK = "{{nonce}}"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    content: bytes
    compressed: bytes
    mime: str
    hash: str
    """Of the content: it names the version in an address and in an `etag`."""


@cache
def assets() -> dict[str, Asset]:
    """The built files by name."""
    folder = importlib.resources.files("runner.page").joinpath(FOLDER)
    found = {}
    for file in folder.iterdir():
        suffix = file.name.rpartition(".")[2]
        if suffix in TYPES:
            found[file.name] = _asset(file.read_bytes(), TYPES[suffix])
    return found


def document(nonce: str) -> bytes:
    """The page itself; it names its files by their hash, so that no old one is shown with it.

    `nonce` is what the content security policy of this one answer lets styles carry.
    """
    text = assets()[DOCUMENT].content.decode().replace(NONCE_MARK, nonce)
    for name, asset in assets().items():
        text = text.replace(f"/page/assets/{name}", f"/page/assets/{name}?v={asset.hash}")
    return text.encode()


def _asset(content: bytes, mime: str) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:HASH_CHARS]
    return Asset(content, gzip.compress(content, 9, mtime=0), mime, digest)
