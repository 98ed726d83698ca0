"""One request over HTTP: its retries, its status, and its bytes with a limit on the wait."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping

import httpx2

from runner.errors import UpstreamError
from runner.models.upstream.error_envelopes import BODY_BYTES, status_error

RETRIED = (408, 409, 429)
FIRST_WAIT_S, LONGEST_WAIT_S, LONGEST_ASKED_S = 0.5, 8.0, 60.0
SERVER_ERRORS = 500


async def opened(
    client: httpx2.AsyncClient, request: httpx2.Request, *, retries: int, hidden: str
) -> httpx2.Response:
    """The answer to `request`, its body still to be read. Raises UpstreamError.

    A failure is tried again, for not a byte of an answer has come.
    """
    for attempt in range(retries + 1):
        is_last = attempt == retries
        try:
            response = await client.send(request, stream=True)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            if is_last:
                raise transport_error(error, has_begun=False) from error
            await asyncio.sleep(wait_s(attempt, {}))
            continue
        if response.is_success:
            return response
        try:
            body = await _start_of(response)
        finally:
            await response.aclose()
        status = response.status_code
        if is_last or not (status in RETRIED or status >= SERVER_ERRORS):
            raise status_error(status, body, response.headers, hidden=hidden)
        await asyncio.sleep(wait_s(attempt, response.headers))
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _start_of(response: httpx2.Response) -> bytes:
    """The first bytes of a body; what cannot be read of it is not missed."""
    found = bytearray()
    with contextlib.suppress(httpx2.TransportError, httpx2.DecodingError):
        async for piece in response.aiter_bytes():
            found += piece
            if len(found) >= BODY_BYTES:
                break
    return bytes(found[:BODY_BYTES])


def wait_s(attempt: int, headers: Mapping[str, str]) -> float:
    """How long to wait before another attempt: as the endpoint asks, else longer each time."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            asked = float(headers.get(name, "")) * unit
            if 0 < asked <= LONGEST_ASKED_S:
                return asked
    longest: float = min(FIRST_WAIT_S * 2.0**attempt, LONGEST_WAIT_S)
    return longest * (1 - 0.25 * random.random())


def transport_error(error: Exception, *, has_begun: bool) -> UpstreamError:
    """What a failure below HTTP means; its text stays free of addresses."""
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamError("slow")
    if isinstance(error, httpx2.DecodingError):
        return UpstreamError("garbled", "its compression cannot be read")
    return UpstreamError("cut" if has_begun else "down", type(error).__name__)


class TimedPieces:
    """Pieces of a body, each waited for without end or for a while."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._next: asyncio.Task[bytes | None] | None = None

    async def next(self, timeout_s: float | None) -> bytes | None:
        """The next piece, None at the end. Raises TimeoutError; then the wait goes on."""
        if timeout_s is None and self._next is None:
            return await anext(self._pieces, None)
        if self._next is None:
            self._next = asyncio.ensure_future(self._take())
        done, _ = await asyncio.wait({self._next}, timeout=timeout_s)
        if not done:
            raise TimeoutError
        task, self._next = self._next, None
        return task.result()

    async def _take(self) -> bytes | None:
        return await anext(self._pieces, None)

    async def close(self) -> None:
        """End the wait that is under way."""
        task, self._next = self._next, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx2.HTTPError):
                await task
