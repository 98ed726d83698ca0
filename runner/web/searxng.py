"""A SearXNG instance of the owner's, through its JSON format."""

import json
from collections.abc import Sequence

from runner.errors import WebError
from runner.transcript import Source
from runner.web.fetch import get_json
from runner.web.search import source

TIMEOUT_S = 15.0
NO_JSON = "The search engine's answer is no JSON; its settings must allow `formats: [json]`"


class SearXNG:
    """`url` is the instance's base, such as http://127.0.0.1:8888."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = f"{url.rstrip('/')}/search"
        self._timeout_s = timeout_s

    async def search(self, query: str, count: int) -> Sequence[Source]:
        asked = {"q": query, "format": "json"}
        body = await get_json(self._url, asked, timeout_s=self._timeout_s)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise WebError(NO_JSON) from error
        rows = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise WebError(NO_JSON)
        found = [
            source(row.get("url"), row.get("title"), row.get("content"))
            for row in rows
            if isinstance(row, dict)
        ]
        return [one for one in found if one is not None][:count]

    async def close(self) -> None:
        """Close nothing: nothing is held."""
