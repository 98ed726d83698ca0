"""Servers on loopback that play the web: pages, redirects, and answers that nobody should send."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PARAGRAPHS = "".join(
    f"<p>Frog number {number} jumped {number * 3} metres, which the judges measured twice.</p>"
    for number in range(12)
)
ARTICLE = (
    "<html><head><title>Frog jumping</title><script>var hidden = 'script words';</script></head>"
    "<body><nav><a href=/>Home</a></nav><article><h1>Frog jumping</h1>"
    f"{PARAGRAPHS}</article><footer>Imprint</footer></body></html>"
)
HTML = "text/html; charset=utf-8"


def reply(
    body: bytes, kind: str = HTML, *, status: str = "200 OK", more: tuple[str, ...] = ()
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Origin:
    """Answers by path; `asked` are the request lines with their Host headers."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self.hangs = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def redirect(self, path: str, target: str) -> None:
        self.answers[path] = reply(b"", status="302 Found", more=(f"location: {target}",))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        host = head.lower().partition("host: ")[2].split("\r\n")[0]
        self.asked.append((path, host))
        if path.startswith("/hang"):
            writer.write(reply(b"<p>so far"))
            await writer.drain()
            self.hangs.set()
            await reader.read()
            self.left.set()
        elif path == "/endless":
            writer.write(reply(b""))
            try:
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            except ConnectionError:
                self.left.set()
        elif path == "/bomb":
            packed = gzip.compress(b"x" * 50_000_000)
            writer.write(reply(packed, more=("content-encoding: gzip",)))
        else:
            none = reply(b"no", "text/plain", status="404 Not Found")
            writer.write(self.answers.get(path, none))
        writer.close()


@asynccontextmanager
async def origin(tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """An origin that listens while the block runs."""
    made = Origin()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
