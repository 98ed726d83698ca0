"""Pages: the text of what was fetched. Strangers' HTML is parsed in a jail, never in here.

The parser is C, and the extraction takes minutes for a page that is made for it: so both run as a
snippet of the engine, with no network, bounded memory and a deadline, and can be stopped.
"""

import base64
import importlib.util
import json
from typing import NamedTuple

from runner.errors import WebError
from runner.transcript import encodable
from runner.web.fetch import Body
from sandbox import AsyncSandbox, Completed, Limits, Policy

LIBRARY = "trafilatura"
HTML = frozenset({"text/html", "application/xhtml+xml"})
TEXT = frozenset({"application/json", "application/xml", "application/ld+json"})
LIMITS = Limits(wall_s=20.0, cpu_s=15.0, memory_bytes=768 * 1024 * 1024, kept_bytes=8 * 1024 * 1024)
TEXT_CHARS = 1_000_000
EXTRACT = """
import base64, json, sys
from trafilatura import extract, extract_metadata
from lxml.html import document_fromstring
page = json.loads(sys.stdin.read())
html = page["text"] or base64.b64decode(page["bytes"])
text = extract(html, url=page["url"], output_format="markdown", include_comments=False,
               include_tables=True, include_links=False)
if not text:
    tree = document_fromstring(html)
    for silent in tree.xpath("//script|//style|//template|//noscript"):
        silent.drop_tree()
    text = "\\n".join(" ".join(line.split()) for line in tree.text_content().splitlines()
                     if line.strip())
about = extract_metadata(html)
print(json.dumps({"title": (about.title if about else "") or "", "text": text or ""}))
"""


class Document(NamedTuple):
    """What a page says."""

    title: str
    text: str


def is_installed() -> bool:
    """Whether there is the library that extracts."""
    return importlib.util.find_spec(LIBRARY) is not None


class Pages:
    """Extracts text in jails of `tier`; the first page starts the engine for it."""

    def __init__(self, policy: Policy) -> None:
        self._box = AsyncSandbox(
            Policy(tier=policy.tier, preload=(LIBRARY,), survive=False), pool_size=1, max_sessions=4
        )

    async def read(self, body: Body) -> Document:
        """The text of `body`. Raises WebError, SandboxError."""
        if body.mime in HTML or (not body.mime and _looks_like_html(body.data)):
            return await self._extract(body)
        if body.mime.startswith("text/") or body.mime in TEXT or not body.mime:
            return Document("", decoded(body)[:TEXT_CHARS])
        raise WebError(f"The page is {body.mime[:80]}; only pages and plain text can be read")

    async def _extract(self, body: Body) -> Document:
        order = {
            "url": body.url,
            # Without a charset the page's own word for it counts, which the library finds.
            "text": decoded(body) if body.charset else "",
            "bytes": "" if body.charset else base64.b64encode(body.data).decode(),
        }
        outcome = await self._box.run(EXTRACT, limits=LIMITS, stdin=json.dumps(order))
        if not isinstance(outcome, Completed):
            raise WebError("The page's text could not be extracted")
        return document_of(outcome.stdout)

    async def close(self) -> None:
        await self._box.close()


def document_of(printed: str) -> Document:
    """What the snippet printed, which the page may have taken part in. Raises WebError."""
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError) as error:
        raise WebError("The page's text could not be extracted") from error
    page = found if isinstance(found, dict) else {}
    title, text = page.get("title"), page.get("text")
    if not isinstance(title, str) or not isinstance(text, str) or not text.strip():
        raise WebError("The page has no text")
    return Document(" ".join(encodable(title).split())[:300], encodable(text)[:TEXT_CHARS])


def decoded(body: Body) -> str:
    """The text of `body` in the charset that it names, else UTF-8."""
    try:
        return body.data.decode(body.charset or "utf-8", "replace")
    except LookupError:
        return body.data.decode("utf-8", "replace")


def _looks_like_html(data: bytes) -> bool:
    return data.lstrip()[:1] == b"<"
