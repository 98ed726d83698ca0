"""Public search engines without a key, through `ddgs`, which asks several and merges.

The library is synchronous and cannot be stopped: it runs in a child process, which can, and whose
memory is not the server's.
"""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from runner.errors import WebError
from runner.transcript import Source
from runner.web.search import source

CHILD = (sys.executable, "-I", str(Path(__file__).with_name("metasearch_child.py")))
TIMEOUT_S = 20.0
ANSWER_BYTES = 1024 * 1024
PASSED = ("PATH", "DDGS_PROXY")


def is_installed() -> bool:
    """Return whether there is the library."""
    return importlib.util.find_spec("ddgs") is not None


class Metasearch:
    """`command` reads a JSON object and writes a list of [url, title, text]."""

    def __init__(self, *, command: Sequence[str] = CHILD, timeout_s: float = TIMEOUT_S) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s

    async def search(self, query: str, count: int) -> Sequence[Source]:
        order = {"query": query, "count": count, "timeout_s": max(int(self._timeout_s / 2), 1)}
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Its words name engines and addresses: of no use to a model.
            stderr=asyncio.subprocess.DEVNULL,
            # Keys of the server's environment are none of its business.
            env={name: os.environ[name] for name in PASSED if name in os.environ},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await _exchange(child, json.dumps(order).encode())
        except TimeoutError:
            raise WebError(f"The search took longer than {self._timeout_s:g} s") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return found_in(answer)[:count]

    async def close(self) -> None:
        """Close nothing: nothing is held."""


async def _exchange(child: asyncio.subprocess.Process, order: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(order)
    child.stdin.close()
    answer = bytearray()
    while len(answer) < ANSWER_BYTES and (piece := await child.stdout.read(65536)):
        answer += piece
    if len(answer) >= ANSWER_BYTES or await child.wait() != 0:
        raise WebError("No search engine answered")
    return bytes(answer)


def found_in(answer: bytes) -> list[Source]:
    """Return the pages in the child's answer. Raises WebError."""
    try:
        rows: JsonValue = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise WebError("The search gave nothing that can be read") from error
    if not isinstance(rows, list):
        raise WebError("The search gave nothing that can be read")
    found = [source(*row) for row in rows if isinstance(row, list) and len(row) == 3]
    return [one for one in found if one is not None]
