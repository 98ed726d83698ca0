"""Fetch: the bytes of a page, from a checked address, within bounds of size and time.

Each hop of a redirect is a new request with a new check. Nothing of one fetch is kept for the
next: no cookie, no connection. Proxies of the environment are not used, because a proxy would
look up the name again.
"""

import asyncio
import importlib
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import NamedTuple

import httpx2

from runner.errors import WebError
from runner.web.addresses import Guard

PAGE_BYTES = 4 * 1024 * 1024
ANSWER_BYTES = 1024 * 1024
"""Of a search engine; parsed it may take twenty times as much."""
FETCH_S = 20.0
CONNECT_S = 5.0
REDIRECTS = 5
URL_CHARS = 4096
USER_AGENT = "cellblock/0.1 (page reader for a language model)"
HEADERS = {
    "user-agent": USER_AGENT,
    "accept": "text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.8",
    # What is understood below; a bomb in another coding would be unpacked by the client.
    "accept-encoding": "gzip, deflate",
}
BACKEND = "anyio._backends._asyncio"
"""What the HTTP client waits by; it would import it on the loop."""
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
KIND_CHARS = 1000
CHARSET = re.compile(
    r";\s{0,20}charset\s{0,20}=\s{0,20}[\"']?(?P<label>[\w.:+-]{1,40})", re.IGNORECASE
)
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


class Body(NamedTuple):
    """A page as it came. `url` is the last one of a chain of redirects."""

    url: str
    mime: str
    charset: str
    data: bytes


@cache
def _tls() -> ssl.SSLContext:
    # Reads hundreds of certificates: once a process. So is what the client imports when it is used.
    importlib.import_module(BACKEND)
    return httpx2.create_ssl_context(trust_env=False)


def prepare() -> None:
    """Make what all fetches share; in a thread, before there are requests."""
    _tls()


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends each request to the address that the guard looked up and checked.

    The name stays in the Host header and is what the certificate must be for.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext) -> None:
        self._guard = guard
        self._inner = httpx2.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            # Two names may share an address: a connection made for one never serves the other.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise WebError("Only http and https URLs can be fetched")
        if url.userinfo:
            raise WebError("URLs with a user name are not fetched")
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await self._guard.address_of(url.host, port)
        checked = httpx2.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": url.host},
        )
        return await self._inner.handle_async_request(checked)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Fetcher:
    """Gets URLs that a model chose."""

    def __init__(
        self,
        guard: Guard | None = None,
        *,
        page_bytes: int = PAGE_BYTES,
        fetch_s: float = FETCH_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._tls = tls
        self._page_bytes = page_bytes
        self._fetch_s = fetch_s

    async def get(self, url: str) -> Body:
        """Return the page at `url`. Raises WebError, in words that a model can act on."""
        if len(url) > URL_CHARS:
            raise WebError("The URL is too long")
        try:
            async with asyncio.timeout(self._fetch_s):
                return await self._follow(url)
        except TimeoutError:
            raise WebError(f"The page did not come within {self._fetch_s:g} s") from None
        except httpx2.InvalidURL as error:
            raise WebError(f"This is no URL: {url[:200]!r}") from error
        except httpx2.HTTPError as error:
            raise WebError(f"The page cannot be fetched ({type(error).__name__})") from error

    async def _follow(self, url: str) -> Body:
        tls = await asyncio.to_thread(_tls) if self._tls is None else self._tls
        client = httpx2.AsyncClient(
            transport=CheckedTransport(self._guard, tls),
            headers=HEADERS,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            trust_env=False,
        )
        async with client:
            target = httpx2.URL(url)
            for _ in range(REDIRECTS + 1):
                async with client.stream("GET", target) as response:
                    if response.status_code not in REDIRECT_STATUSES:
                        return await self._read(response, str(target))
                    target = _location(target, response.headers)
            raise WebError(f"The page redirects more than {REDIRECTS} times")

    async def _read(self, response: httpx2.Response, url: str) -> Body:
        if not 200 <= response.status_code < 300:
            raise WebError(f"The server answered with status {response.status_code}")
        head = response.headers.get("content-type", "")[:KIND_CHARS]
        kind, charset = head.partition(";")[0].strip().lower(), CHARSET.search(head)
        coding = response.headers.get("content-encoding", "").strip().lower()
        pieces: AsyncIterator[bytes] = response.aiter_raw()
        if coding in ("gzip", "x-gzip", "deflate"):
            pieces = unpacked(pieces, self._page_bytes)
        elif coding not in ("", "identity"):
            raise WebError(f"The page comes in a coding that is not read: {coding[:40]!r}")
        data = bytearray()
        async for piece in pieces:
            data += piece
            if len(data) > self._page_bytes:
                raise WebError(f"The page is larger than {self._page_bytes} bytes")
        # Not as the library reads it: that decodes the header by a codec which it names itself.
        return Body(url, kind, charset["label"] if charset else "", bytes(data))


async def unpacked(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """`pieces` of gzip or zlib data, unpacked; never more than `most` + 1 bytes in all."""
    machine, left = zlib.decompressobj(GZIP_OR_ZLIB), most + 1
    try:
        async for piece in pieces:
            out = machine.decompress(piece, left)
            left -= len(out)
            yield out
            if left <= 0:
                return
    except zlib.error as error:
        raise WebError("The page's coding is broken") from error


def _location(url: httpx2.URL, headers: Mapping[str, str]) -> httpx2.URL:
    place = headers.get("location", "")
    if not place or len(place) > URL_CHARS:
        raise WebError("The page redirects to nowhere")
    return url.join(place)


async def get_json(url: str, parameters: Mapping[str, str], *, timeout_s: float) -> bytes:
    """Return the answer of an endpoint that the owner chose: no guard. Raises WebError."""
    try:
        async with asyncio.timeout(timeout_s):
            tls = await asyncio.to_thread(_tls)
            client = httpx2.AsyncClient(verify=tls, timeout=None, trust_env=False)
            async with client, client.stream("GET", url, params=parameters) as response:
                if response.status_code != 200:
                    raise WebError(f"The search engine answered {response.status_code}")
                data = bytearray()
                async for piece in response.aiter_bytes(65536):
                    data += piece
                    if len(data) > ANSWER_BYTES:
                        raise WebError("The search engine's answer is too large")
                return bytes(data)
    except TimeoutError:
        raise WebError(f"The search engine did not answer within {timeout_s:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise WebError(f"The search engine cannot be reached ({type(error).__name__})") from error
