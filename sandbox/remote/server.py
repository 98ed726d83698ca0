"""A server's `/v1/sessions`: calls with JSON, bytes in and out, events as they come."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import h11

from sandbox.errors import PolicyError, RemoteFailed
from sandbox.policy.arguments import check_text
from sandbox.remote.connection import Exchange, Origin
from sandbox.remote.faults import NO_ANSWER, error_of

ANSWER_CAP_BYTES = 256 * 1024 * 1024
ERROR_CAP_BYTES = 1024 * 1024
READ_HERE_BYTES = 256 * 1024
"""JSON up to this size is read on the loop."""
SILENT_S = 120.0
LONGEST_S = 24 * 3600.0
SESSIONS = "/v1/sessions"
SANDBOX = "/v1/sandbox"


class Server:
    """Where sessions are, and the key to them."""

    def __init__(self, url: str, *, key: str, tls: ssl.SSLContext | None) -> None:
        check_text("url", url, "Give one such as http://127.0.0.1:8000")
        check_text("key", key, "Give one of the server's keys")
        self._origin = Origin.of(url, tls)
        if not key.isascii() or not key.isprintable():
            raise PolicyError("key", "has characters that a header cannot carry")
        self._headers = [("user-agent", "cellblock"), ("accept", "*/*")]
        if key:
            self._headers.append(("authorization", f"Bearer {key}"))

    @property
    def name(self) -> str:
        """Host and port."""
        return self._origin.name

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        subject: str = "",
        silent_s: float = SILENT_S,
        root: str = SESSIONS,
    ) -> Any:
        """Ask for what is at `path` below the sessions; the JSON object that it answers."""
        opened = self.opened(method, path, body, subject=subject, silent_s=silent_s, root=root)
        async with opened as pieces:
            data = await self._whole(pieces, ANSWER_CAP_BYTES)
        try:
            is_long = len(data) > READ_HERE_BYTES
            found = await asyncio.to_thread(json.loads, data) if is_long else json.loads(data)
        except (ValueError, RecursionError):
            raise RemoteFailed(self.name, "its answer is no JSON", NO_ANSWER) from None
        if not isinstance(found, dict):
            raise RemoteFailed(self.name, "its answer is no JSON object", NO_ANSWER)
        return found

    async def upload(self, path: str, data: bytes | AsyncIterator[bytes], *, subject: str) -> None:
        """Put `data` to `path` as it comes."""
        async with self.opened("PUT", path, data, subject=subject) as pieces:
            await self._whole(pieces, ERROR_CAP_BYTES)

    async def download(self, path: str, *, subject: str) -> tuple[bytes, dict[str, str]]:
        """The body at `path`, and the headers of the answer."""
        headers: dict[str, str] = {}
        async with self.opened("GET", path, subject=subject, headers=headers) as pieces:
            return await self._whole(pieces, ANSWER_CAP_BYTES), headers

    @contextlib.asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        subject: str = "",
        silent_s: float = SILENT_S,
        headers: dict[str, str] | None = None,
        root: str = SESSIONS,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask, and read the answer's body as it comes; leaving closes the connection.

        `headers` is filled with those of the answer.
        `body` are bytes, an iterator of them, or else what becomes JSON. Raises what a server's
        error stands for, see `faults`.
        """
        own, sent = self._headers, body
        if isinstance(sent, bytes) or hasattr(sent, "__aiter__"):
            own = [*own, ("content-type", "application/octet-stream")]
        elif sent is None:
            sent = b""
        else:
            own = [*own, ("content-type", "application/json")]
            sent = await _json(sent)
        async with Exchange(self._origin, silent_s=silent_s) as exchange:
            answer = await exchange.ask(method, root + path, own, sent)  # type: ignore[arg-type]
            if headers is not None:
                found = answer.headers
                headers |= {key.decode("latin-1"): one.decode("latin-1") for key, one in found}
            pieces = exchange.pieces()
            if not 200 <= answer.status_code < 300:
                # A redirect too: the key is for the server that was named.
                said = await self._whole(pieces, ERROR_CAP_BYTES)
                retry_after = _header(answer, b"retry-after")
                raise error_of(
                    self.name,
                    answer.status_code,
                    said,
                    retry_after,
                    subject=subject,
                    of_session=bool(path) and root == SESSIONS,
                )
            async with contextlib.aclosing(pieces):  # type: ignore[type-var]
                yield pieces

    async def _whole(self, pieces: AsyncIterator[bytes], most: int) -> bytes:
        found = bytearray()
        async for piece in pieces:
            found += piece
            if len(found) > most:
                raise RemoteFailed(self.name, f"its answer has more than {most} bytes")
        return bytes(found)


async def _json(body: object) -> bytes:
    try:
        return (await asyncio.to_thread(json.dumps, body, allow_nan=False)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError("", f"is nothing that JSON has: {error}") from None


def _header(answer: h11.Response, name: bytes) -> str:
    found = next((value for key, value in answer.headers if key == name), b"")
    return found.decode("latin-1")
