"""Pages: the text of what was fetched. Strangers' HTML is parsed in a jail, never in here.

The parser is C, and the extraction takes minutes for a page that is made for it: so both run as a
snippet of the engine, with no network, bounded memory and a deadline, and can be stopped. So does
the decoding of all that is not plainly UTF-8.
"""

import base64
import importlib.util
import json
from typing import NamedTuple

from runner.errors import WebError
from runner.transcript import encodable
from runner.web.charsets import DEFAULT, codec_of
from runner.web.fetch import Body
from sandbox import AsyncSandbox, Completed, Limits, Policy

LIBRARY = "trafilatura"
HTML = frozenset({"text/html", "application/xhtml+xml"})
TEXT = frozenset({"application/json", "application/xml", "application/ld+json"})
LIMITS = Limits(wall_s=20.0, cpu_s=15.0, memory_bytes=768 * 1024 * 1024, kept_bytes=8 * 1024 * 1024)
TEXT_CHARS, TITLE_CHARS = 1_000_000, 300
READ = """
import base64, json, sys
page = json.loads(sys.stdin.read())
data = base64.b64decode(page["bytes"])
html = data.decode(page["charset"], "replace") if page["charset"] else data
"""
EXTRACT = f"""{READ}
from trafilatura import extract, extract_metadata
from lxml.html import document_fromstring
text = extract(html, url=page["url"], output_format="markdown", include_comments=False,
               include_tables=True, include_links=False)
if not text:
    tree = document_fromstring(html)
    for silent in tree.xpath("//script|//style|//template|//noscript"):
        silent.drop_tree()
    text = "\\n".join(" ".join(line.split()) for line in tree.text_content().splitlines()
                     if line.strip())
about = extract_metadata(html)
title = (about.title if about else "") or ""
print(" ".join(title.split())[:{TITLE_CHARS}])
print((text or "")[:{TEXT_CHARS}])
"""
DECODE = f"""{READ}
print()
print(html[:{TEXT_CHARS}])
"""
"""Both print a line with the title, then the text."""


class Document(NamedTuple):
    """What a page says."""

    title: str
    text: str


def is_installed() -> bool:
    """Return whether there is the library that extracts."""
    return importlib.util.find_spec(LIBRARY) is not None


class Pages:
    """Extracts text in jails of `tier`; the first page starts the engine for it."""

    def __init__(self, policy: Policy) -> None:
        self._box = AsyncSandbox(
            Policy(tier=policy.tier, preload=(LIBRARY,), survive=False), pool_size=1, max_sessions=4
        )

    async def read(self, body: Body) -> Document:
        """Return the text of `body`. Raises WebError, SandboxError."""
        if body.mime in HTML or (not body.mime and _looks_like_html(body.data)):
            # Without a charset the page's own word for it counts, which the library finds.
            return document_of(await self._printed(EXTRACT, body, codec_of(body.charset)))
        if body.mime.startswith("text/") or body.mime in TEXT or not body.mime:
            codec = codec_of(body.charset) or DEFAULT
            text = _plain(body.data) if codec == DEFAULT else None
            if text is None:
                return document_of(await self._printed(DECODE, body, codec))
            return Document("", text[:TEXT_CHARS])
        raise WebError(f"The page is {body.mime[:80]}; only pages and plain text can be read")

    async def _printed(self, code: str, body: Body, codec: str) -> str:
        """What `code` prints of `body`, in a jail: a page can make that as slow as it likes."""
        data = base64.b64encode(body.data).decode()
        order = json.dumps({"url": body.url, "charset": codec, "bytes": data})
        outcome = await self._box.run(code, limits=LIMITS, stdin=order)
        if not isinstance(outcome, Completed):
            raise WebError("The page's text could not be extracted")
        return outcome.stdout

    async def close(self) -> None:
        await self._box.close()


def document_of(printed: str) -> Document:
    """Return what the snippet printed, which the page may have taken part in. Raises WebError."""
    title, _, text = printed.partition("\n")
    text = encodable(text[:TEXT_CHARS]).removesuffix("\n")
    if not text.strip():
        raise WebError("The page has no text")
    return Document(encodable(" ".join(title[: 2 * TITLE_CHARS].split())[:TITLE_CHARS]), text)


def _plain(data: bytes) -> str | None:
    """Return the text of UTF-8; None for what is broken, whose repair may take long."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _looks_like_html(data: bytes) -> bool:
    return data.lstrip()[:1] == b"<"
