"""The proxy of the network by name, between a client and a server on loopback."""

import asyncio
import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from sandbox.network.authority import Authority
from sandbox.network.proxy import Proxy, Refusal
from sandbox.network.rules import NetworkRules
from sandbox.network.secrets import Secret, SecretStore


class Upstream:
    """A server that answers each request with what it got, and counts connections."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = await reader.readexactly(length)
            self.heads.append(head + body)
            answer = head + body
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Seen: %s\r\n\r\n"
                % (len(answer), head.split(b"\r\n")[0])
                + answer
            )
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def running(
    *rules: str, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[tuple[Proxy, str, Upstream, list[Refusal]]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    refusals: list[Refusal] = []
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    secrets = options.pop("secrets", SecretStore({}))
    proxy = Proxy(
        NetworkRules.parse([rule.format(port=upstream.port) for rule in rules]),
        secrets,  # type: ignore[arg-type]
        on_refused=refusals.append,
        **options,  # type: ignore[arg-type]
    )
    await proxy.start(listener)
    try:
        yield proxy, address, upstream, refusals
    finally:
        await proxy.close()
        server.close()


async def fetch(
    proxy: str, url: str, data: bytes | None = None, cafile: str | None = None, **headers: str
) -> tuple[int, str]:
    """Status and body of `url`, asked for through `proxy`."""

    def work() -> tuple[int, str]:
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.ProxyHandler({"http": proxy, "https": proxy})
        ]
        if cafile is not None:
            context = ssl.create_default_context(cafile=cafile)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        request = urllib.request.Request(url, data, headers)
        try:
            with opener.open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(work)


async def to_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_a_request_to_a_named_host_goes_through_and_is_counted():
    async with running("127.0.0.1:{port}!") as (proxy, address, upstream, refusals):
        status, body = await fetch(address, f"http://127.0.0.1:{upstream.port}/a?b=c", b"hello")
    assert status == 200
    assert body.startswith("POST /a?b=c HTTP/1.1\r\n")
    assert body.endswith("hello")
    assert proxy.usage.requests == 1
    assert proxy.usage.received_bytes == len(body)
    assert proxy.usage.sent_bytes > 5
    assert refusals == []


async def test_a_host_that_no_rule_names_is_refused_with_the_rule_that_would_allow_it():
    async with running("example.org:443") as (proxy, address, _upstream, refusals):
        status, body = await fetch(address, "http://other.example:8080/")
    assert status == 403
    assert "other.example:8080 is in no rule" in body
    assert [refusal.allow_with for refusal in refusals] == ['network = ["other.example:8080"]']
    assert proxy.usage.requests == 0


async def test_a_tunnel_is_refused_with_its_reason_in_the_status_line():
    async with running("example.org:443") as (_proxy, address, _upstream, refusals):
        with pytest.raises(urllib.error.URLError, match="in no rule of the policy's network"):
            await fetch(address, "https://other.example/")
    assert refusals[0].tried == "CONNECT other.example:443"


async def test_a_public_name_that_leads_to_a_private_address_is_refused():
    async with running("rebound.example:{port}", resolve=to_loopback) as running_proxy:
        _proxy, address, upstream, refusals = running_proxy
        status, body = await fetch(address, f"http://rebound.example:{upstream.port}/")
    assert status == 403
    assert "leads to 127.0.0.1, which is no public address" in body
    assert upstream.heads == []
    assert refusals[0].allow_with == f'network = ["rebound.example:{upstream.port}!"]'


async def test_the_host_header_is_that_of_the_rule_and_no_hop_header_passes():
    async with running("127.0.0.1:{port}!") as (_proxy, address, upstream, _refusals):
        url = f"http://127.0.0.1:{upstream.port}/"
        await fetch(address, url, Host="evil.example", **{"Proxy-Authorization": "Basic eA=="})
    head = upstream.heads[0].decode().lower()
    assert f"host: 127.0.0.1:{upstream.port}" in head
    assert "evil.example" not in head
    assert "proxy-authorization" not in head


async def test_a_secret_is_put_into_requests_for_its_host_and_masked_in_the_answer():
    secrets = SecretStore({"API_KEY": Secret("the-real-value", hosts=["127.0.0.1"])})
    placeholder = secrets.placeholders["API_KEY"]
    async with running("127.0.0.1:{port}!", secrets=secrets) as running_proxy:
        _proxy, address, upstream, _refusals = running_proxy
        url = f"http://127.0.0.1:{upstream.port}/?key={placeholder}"
        body = f'{{"key": "{placeholder}"}}'.encode()
        status, text = await fetch(address, url, body, Authorization=f"Bearer {placeholder}")
    assert status == 200
    assert upstream.heads[0].count(b"the-real-value") == 3
    assert "the-real-value" not in text
    assert text.count(placeholder) == 3


async def test_a_secret_stays_a_placeholder_for_another_host():
    secrets = SecretStore({"API_KEY": Secret("the-real-value", hosts=["api.example"])})
    placeholder = secrets.placeholders["API_KEY"]
    async with running("127.0.0.1:{port}!", secrets=secrets) as running_proxy:
        _proxy, address, upstream, _refusals = running_proxy
        await fetch(address, f"http://127.0.0.1:{upstream.port}/", Authorization=placeholder)
    assert b"the-real-value" not in upstream.heads[0]
    assert placeholder.encode() in upstream.heads[0]


async def test_a_secret_reaches_its_host_over_tls_too(tmp_path: Path):
    public = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    public.issue_cert("api.example").configure_cert(served)
    trusting = ssl.create_default_context()
    public.configure_trust(trusting)
    authority = Authority()
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    secrets = SecretStore({"API_KEY": Secret("the-real-value", hosts=["api.example"])})
    placeholder = secrets.placeholders["API_KEY"]
    async with running(
        "api.example:{port}!",
        tls=served,
        secrets=secrets,
        authority=authority,
        upstream_tls=trusting,
        resolve=to_loopback,
    ) as (_proxy, address, upstream, _refusals):
        status, text = await fetch(
            address,
            f"https://api.example:{upstream.port}/v1",
            b"{}",
            cafile=str(tmp_path / "authority.pem"),
            Authorization=f"Bearer {placeholder}",
        )
    assert status == 200
    assert b"Bearer the-real-value" in upstream.heads[0]
    assert "the-real-value" not in text


async def test_a_tunnel_carries_bytes_both_ways(tmp_path: Path):
    public = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    public.issue_cert("plain.example").configure_cert(served)
    public.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with running("plain.example:{port}!", tls=served, resolve=to_loopback) as running_proxy:
        proxy, address, upstream, _refusals = running_proxy
        url = f"https://plain.example:{upstream.port}/"
        status, text = await fetch(address, url, b"x" * 200_000, cafile=str(tmp_path / "ca.pem"))
    assert status == 200
    assert text.endswith("x" * 1000)
    assert proxy.usage.sent_bytes > 200_000
    assert proxy.usage.received_bytes > 200_000


async def test_what_is_no_http_ends_the_connection_and_nothing_else():
    async with running("127.0.0.1:{port}!") as (_proxy, address, upstream, _refusals):
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\0" * 70_000)
        assert await reader.read() == b""
        writer.close()
        status, _body = await fetch(address, f"http://127.0.0.1:{upstream.port}/")
    assert status == 200


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(0, 8))
def test_a_value_is_masked_however_the_stream_is_cut(pieces: list[bytes], where: int):
    secrets = SecretStore({"A": Secret("abcabd", hosts=["h"]), "B": Secret("bdbd", hosts=["h"])})
    whole = b"".join([*pieces[:where], b"abcabd", *pieces[where:]])
    for size in range(1, 8):
        masker = secrets.masker()
        cut = [whole[start : start + size] for start in range(0, len(whole), size)]
        seen = b"".join([*map(masker.feed, cut), masker.finish()])
        assert b"abcabd" not in seen
        assert secrets.placeholders["A"].encode() in seen or b"bdbd" in whole
