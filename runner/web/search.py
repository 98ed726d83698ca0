"""Search: the port of everything that finds pages for a query."""

from collections.abc import Sequence
from typing import Protocol

from runner.transcript import Source

LOCAL = "local:"
"""Scheme of pages that a backend holds itself."""
RESULTS = 5
QUERY_CHARS = 400
SNIPPET_CHARS = 500


class SearchBackend(Protocol):
    """Finds pages."""

    async def search(self, query: str, count: int) -> Sequence[Source]:
        """At most `count` pages, the best first. Raises WebError. Cancelling stops it."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class LocalPages(Protocol):
    """Whole texts of pages whose URLs begin with `LOCAL`."""

    async def text_of(self, url: str) -> str:
        """Return the page. Raises WebError."""
        ...


def source(url: object, title: object, snippet: object) -> Source | None:
    """Return what a backend found, checked and cut; None for what is no page."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://", LOCAL)):
        return None
    return Source(
        url=url[:2000],
        title=_line(title)[:200],
        snippet=_line(snippet)[:SNIPPET_CHARS],
    )


def _line(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
