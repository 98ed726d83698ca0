"""A folder of the owner's as the web: its texts in an index of SQLite, searched offline.

The index is a private database that SQLite keeps in memory and on disk as it sees fit, and that
is gone with the process. Files that changed are read again before a search, at most every
`FRESH_S` seconds.
"""

import asyncio
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from runner.errors import WebError
from runner.transcript import Source, encodable
from runner.web.search import LOCAL, source

FRESH_S = 30.0
FILE_BYTES = 2 * 1024 * 1024
FILES = 100_000
SUFFIXES = frozenset(
    {".txt", ".md", ".markdown", ".rst", ".html", ".htm", ".csv", ".json", ".org", ".adoc"}
)
WORD = re.compile(r"\w+")
WORDS = 24
SCHEMA = "CREATE VIRTUAL TABLE pages USING fts5(path UNINDEXED, title, body, tokenize = 'porter')"
FIND = (
    "SELECT path, title, snippet(pages, 2, '', '', ' ... ', 48) FROM pages"
    " WHERE pages MATCH ? ORDER BY bm25(pages, 0.0, 4.0, 1.0) LIMIT ?"
)


class _Seen(NamedTuple):
    """What tells whether a file changed."""

    modified_ns: int
    size_bytes: int


class Folder:
    """Searches the texts below `root`. Hidden files, links and what is no text are left out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._database: sqlite3.Connection | None = None
        self._seen: dict[str, _Seen] = {}
        self._fresh_until = 0.0

    async def search(self, query: str, count: int) -> Sequence[Source]:
        match = expression(query)
        if not match:
            raise WebError("The query has no words")
        rows = await asyncio.to_thread(self._find, match, count)
        found = [source(url_of(path), title, text) for path, title, text in rows]
        return [one for one in found if one is not None]

    async def text_of(self, url: str) -> str:
        """Return the text of a file that a search gave. Raises WebError."""
        text = await asyncio.to_thread(self._text, unquote(url.removeprefix(LOCAL)))
        if text is None:
            raise WebError("There is no such local page")
        return text

    async def close(self) -> None:
        """Stop reading and forget the index."""
        self._stop.set()
        await asyncio.to_thread(self._forget)

    # ---- in a thread ----------------------------------------------------------------------------

    def _find(self, match: str, count: int) -> list[tuple[str, str, str]]:
        with self._lock:
            return self._fresh().execute(FIND, (match, count)).fetchall()

    def _text(self, path: str) -> str | None:
        with self._lock:
            asked = "SELECT body FROM pages WHERE path = ?"
            row = self._fresh().execute(asked, (path,)).fetchone()
        return None if row is None else str(row[0])

    def _forget(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _fresh(self) -> sqlite3.Connection:
        if self._stop.is_set():
            raise WebError("The search is closed")
        if self._database is None:
            # One thread at a time has it, under the lock.
            self._database = sqlite3.connect("", check_same_thread=False)
            self._database.execute(SCHEMA)
        if time.monotonic() >= self._fresh_until:
            with self._database:
                self._read_again(self._database)
            self._fresh_until = time.monotonic() + FRESH_S
        return self._database

    def _read_again(self, database: sqlite3.Connection) -> None:
        now = dict(self._files())
        for path in self._seen.keys() - now.keys():
            database.execute("DELETE FROM pages WHERE path = ?", (path,))
            del self._seen[path]
        for path, seen in now.items():
            if self._stop.is_set():
                return
            if self._seen.get(path) == seen:
                continue
            database.execute("DELETE FROM pages WHERE path = ?", (path,))
            title, body = page_of(path, self._content(path))
            database.execute("INSERT INTO pages VALUES (?, ?, ?)", (path, title, body))
            self._seen[path] = seen

    def _files(self) -> Iterator[tuple[str, _Seen]]:
        if not self._root.is_dir():
            raise WebError("The folder that is searched is not there")
        left = FILES
        for folder, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                    continue
                path = Path(folder) / name
                try:
                    status = path.lstat()
                except OSError:
                    # Deleted since its name was read.
                    continue
                if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
                    continue
                relative = path.relative_to(self._root).as_posix()
                yield encodable(relative), _Seen(status.st_mtime_ns, status.st_size)
                left -= 1
                if left == 0:
                    return

    def _content(self, path: str) -> str:
        try:
            with (self._root / path).open("rb") as file:
                return file.read(FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            # Deleted or closed since it was listed: it has no text, and the next look tells.
            return ""


def expression(query: str) -> str:
    """`query` as an expression of FTS5: any of its words, each taken as it is."""
    words = dict.fromkeys(WORD.findall(query.lower()))
    return " OR ".join(f'"{word}"' for word in list(words)[:WORDS])


def url_of(path: str) -> str:
    """Return the URL of a file of the folder."""
    return f"{LOCAL}{quote(path)}"


def page_of(path: str, content: str) -> tuple[str, str]:
    """Title and text of a file."""
    name = Path(path).stem.replace("_", " ").replace("-", " ")
    if Path(path).suffix.lower() in (".html", ".htm"):
        parser = _Text()
        parser.feed(content)
        parser.close()
        return parser.title or name, parser.text
    first = next((line.strip("#= \t") for line in content.splitlines() if line.strip()), "")
    return first[:200] or name, content


class _Text(HTMLParser):
    """The words of a page, without its scripts."""

    SILENT = frozenset({"script", "style", "template"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._words: list[str] = []
        self._title: list[str] = []
        self._silent = ""
        self._in_title = False

    @property
    def text(self) -> str:
        return "\n".join(self._words)

    @property
    def title(self) -> str:
        return " ".join(" ".join(self._title).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SILENT and not self._silent:
            self._silent = tag
        self._in_title = tag == "title" or (self._in_title and tag != "body")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._silent:
            self._silent = ""
        if tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._silent or not data.strip():
            return
        (self._title if self._in_title else self._words).append(data.strip())
