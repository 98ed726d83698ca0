"""Asks a fresh server of every door once; prints what its event loop imported meanwhile, as JSON.

Run as a program: in the process of the tests most is imported already.
"""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Sequence
from types import ModuleType

import httpx2
from e2b_wire import Wire
from mcp_wire import INITIALIZE
from serving import KEY, MODEL, TalkModel, config, directory, serving
from talking import TALKS

HEADERS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "open-sandbox-api-key": KEY,
    "accept": "application/json, text/event-stream",
}
QUESTION = next(iter(TALKS))
FORM = {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "user_data"}}
BASE = "/v1/sessions/{session}"
ASKED: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("GET", "/healthz", {}),
    ("GET", "/metrics", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/", {}),
    ("GET", "/v1/models", {}),
    ("POST", f"{BASE}/run", {"json": {"code": "1"}}),
    ("PUT", f"{BASE}/files/a", {"content": b"x"}),
    ("GET", f"{BASE}/files", {}),
    ("GET", f"{BASE}/files/a", {}),
    ("GET", f"{BASE}/variables", {}),
    ("POST", f"{BASE}/exec", {"json": {"command": "true"}}),
    ("POST", f"{BASE}/checkpoint", {"json": {}}),
    ("POST", f"{BASE}/fork", {"json": {}}),
    ("POST", "/v1/files", FORM),
    ("POST", "/v1/containers", {"json": {"name": "n"}}),
    ("POST", "/v1/responses", {"json": {"model": MODEL, "input": QUESTION}}),
    (
        "POST",
        "/v1/chat/completions",
        {"json": {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}},
    ),
    ("POST", "/run_code", {"json": {"code": "1", "language": "python"}}),
    ("POST", "/run_jupyter", {"json": {"cells": ["1"]}}),
    ("POST", "/librechat/exec", {"json": {"lang": "py", "code": "1"}}),
    ("POST", "/librechat/upload", FORM),
    ("POST", "/opensandbox/sandboxes", {"json": {}}),
    ("POST", "/api/kernels", {"json": {}}),
    ("POST", "/mcp", {"json": INITIALIZE}),
)


class Seen:
    """A finder that finds nothing, and notes which thread looks for which module."""

    def __init__(self, thread: int) -> None:
        self.names: list[str] = []
        self._thread = thread

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """Note an import of the loop's thread."""
        if threading.get_ident() == self._thread:
            self.names.append(name)


def main() -> None:
    """Ask every door, and print what was imported, by door."""
    logging.basicConfig(level=logging.ERROR)
    found: dict[str, list[str]] = {}
    with (
        serving(directory(TalkModel(TALKS)), config()) as server,
        httpx2.Client(base_url=server.origin, headers=HEADERS, timeout=60) as http,
    ):
        session = http.post("/v1/sessions", json={}).json()["id"]
        assert server.loop is not None
        thread = asyncio.run_coroutine_threadsafe(_thread(), server.loop).result(10)
        seen = Seen(thread)
        sys.meta_path.insert(0, seen)
        for method, path, more in ASKED:
            answer = http.request(method, path.format(session=session), **more)
            assert answer.status_code < 300, (path, answer.text)
            found[path], seen.names = seen.names, []
        with Wire(server.origin) as wire:
            box = wire.create()
            box.execute("1")
            box.rpc("filesystem.Filesystem/ListDir", {"path": "/mnt/data", "depth": 1})
            box.kill()
        found["/e2b"] = seen.names
    print(json.dumps(found))


async def _thread() -> int:
    return threading.get_ident()


if __name__ == "__main__":
    main()
