"""The web tools of a server: one backend and one engine for all its requests."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runner.config import PagesSettings, SearchSettings
from runner.errors import ConfigError
from runner.tools import web_extractor, web_search
from runner.tools.port import Tool
from runner.web import fetch, metasearch, pages
from runner.web.addresses import Guard
from runner.web.fetch import Fetcher
from runner.web.folder import Folder
from runner.web.search import SearchBackend
from runner.web.searxng import SearXNG
from sandbox import Policy

Maker = Callable[[], Tool]


class WebTools:
    """Tools by name; a name without one here is accepted in requests and not offered."""

    def __init__(self, makers: Mapping[str, Maker] | None = None) -> None:
        self._makers = dict(makers or {})
        self._backend: SearchBackend | None = None
        self._pages: pages.Pages | None = None

    @classmethod
    def of(
        cls, search: SearchSettings, reading: PagesSettings, policy: Policy, *, shown_chars: int
    ) -> "WebTools":
        """What the settings ask for and the installed libraries can do. Raises ConfigError."""
        tools = cls()
        backend = backend_of(search)
        if backend is not None:
            tools._backend = backend
            tools._makers[web_search.NAME] = lambda: web_search.WebSearch(
                backend, results=search.results
            )
        if reading.enabled and pages.is_installed():
            reader = tools._pages = pages.Pages(policy)
            fetcher = Fetcher(Guard(allowed=reading.allow_networks), page_bytes=reading.page_bytes)
            local = backend if isinstance(backend, Folder) else None
            tools._makers[web_extractor.NAME] = lambda: web_extractor.WebExtractor(
                fetcher, reader, shown_chars=shown_chars, local=local
            )
        return tools

    def make(self, names: Collection[str]) -> list[Tool]:
        """Return the tools of a request that asks for `names`."""
        return [make() for name, make in self._makers.items() if name in names]

    def prepare(self) -> None:
        """Make what the first fetch would make: it holds the interpreter's lock for a while."""
        if self._makers:
            fetch.prepare()

    async def close(self) -> None:
        """Let go of what the tools share."""
        if self._backend is not None:
            await self._backend.close()
        if self._pages is not None:
            await self._pages.close()


def backend_of(settings: SearchSettings) -> SearchBackend | None:
    """Return the backend, or None. Raises ConfigError."""
    if settings.backend == "searxng":
        if not settings.url:
            raise ConfigError("search.url", "is missing", "Name the instance's base URL")
        return SearXNG(settings.url)
    if settings.backend == "folder":
        if not settings.folder or not Path(settings.folder).is_dir():
            raise ConfigError("search.folder", "is no folder", "Name one that holds texts")
        return Folder(Path(settings.folder))
    if settings.backend == "metasearch" and metasearch.is_installed():
        return metasearch.Metasearch()
    return None
