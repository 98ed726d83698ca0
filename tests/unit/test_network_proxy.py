"""The proxy of the network by name, between a client and a server on loopback."""

import asyncio
import contextlib
import socket
import ssl
import struct
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


async def test_the_change_that_a_refusal_names_is_the_smallest():
    async with running("*.example:*", resolve=to_loopback) as (_proxy, address, upstream, refusals):
        await fetch(address, f"http://a.example:{upstream.port}/")
        await fetch(address, "http://10.0.0.7/")
        await fetch(address, "http://[fd00::1]:81/")
    assert [(one.rule, one.allow_with) for one in refusals] == [
        ("*.example:*", f'network = ["a.example:{upstream.port}!"]'),
        ("network", 'network = ["10.0.0.7:80!"]'),
        ("network", 'network = ["[fd00::1]:81!"]'),
    ]
    assert [(one.host, one.tried) for one in refusals][2] == ("fd00::1", "GET [fd00::1]:81")


async def test_what_a_refusal_tells_of_a_request_is_bounded():
    method, host = "M" * 9_000, "x" * 9_000
    async with running("example.org:80") as (_proxy, address, _upstream, refusals):
        for one in (f"{method} http://a.example/", f"GET http://{host}/", f"GET http://[{host}]/"):
            answered = await say(address, f"{one} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answered.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 502 "))
    assert [one.method for one in refusals[:2]] == [method[:20], "GET"]
    assert all(len(one.tried) < 300 and len(one.hint) <= 600 for one in refusals)


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
        with contextlib.suppress(ConnectionResetError):  # Not all was read.
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


# ---- what a hostile snippet tries ---------------------------------------------------------------


async def say(address: str, data: bytes) -> bytes:
    """What the proxy answers to `data`, until it closes the connection."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        async with asyncio.timeout(5):
            return await reader.read(-1)
    finally:
        writer.close()


async def test_a_name_that_changes_its_mind_leads_nowhere_else():
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14"] if len(asked) == 1 else ["127.0.0.1"]

    async with running("a.example:*", resolve=rebinding) as (proxy, _address, upstream, _refusals):
        first = await proxy._route("GET", "a.example", upstream.port)
        assert first.addresses == ("93.184.215.14",)
        assert asked == ["a.example"]  # It is connected to by number: no second look-up.
        with pytest.raises(Exception, match="no public address"):
            await proxy._route("GET", "a.example", upstream.port)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::",
        "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0", "fd00::1",
        "224.0.0.1", "255.255.255.255", "::127.0.0.1", "192.0.0.8", "198.18.0.1",
    ],
)  # fmt: skip
async def test_no_name_leads_to_an_address_that_is_not_public(address: str):
    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    async with running("*.example:*", resolve=resolve) as (_proxy, proxy, upstream, refusals):
        status, text = await fetch(proxy, f"http://a.example:{upstream.port}/")
    assert (status, upstream.heads) == (403, []), text
    assert len(refusals) == 1


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "017700000001", "127.1", "[::1]", "127.0.0.1.", "①②⑦.0.0.1"],
)
async def test_an_address_in_another_form_is_no_name_that_a_rule_for_a_domain_allows(host: str):
    request = f"GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with running("*.example:*", "example.org:80") as (_proxy, address, upstream, refusals):
        answered = await say(address, request)
    assert not answered or answered.split(b" ")[1] in (b"400", b"403", b"502")
    if answered.split(b" ")[1:2] == [b"403"]:
        assert [one.method for one in refusals] == ["GET"]
    assert upstream.heads == []


@pytest.mark.parametrize(
    "tail",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"Content-Length: 5\r\n\r\nGET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_nothing_behind_a_tunnel_that_was_refused_is_sent_anywhere(tail: bytes):
    async with running("127.0.0.1:{port}!") as (_proxy, address, upstream, refusals):
        tail = tail.replace(b"{port}", str(upstream.port).encode())
        answered = await say(address, b"CONNECT b.example:443 HTTP/1.1\r\nHost: b\r\n\r\n" + tail)
    assert answered.startswith(b"HTTP/1.1 403 ")
    assert answered.count(b"HTTP/1.1") == 1
    assert upstream.heads == []
    assert [one.tried for one in refusals] == ["CONNECT b.example:443"]


@pytest.mark.parametrize(
    "target",
    [b"a.example@127.0.0.1:{port}", b"127.0.0.1:{port}#", b"127.0.0.1:{port}/x", b"127.0.0.1"],
)
async def test_a_tunnel_wants_a_host_and_a_port_and_nothing_else(target: bytes):
    async with running("127.0.0.1:{port}!") as (_proxy, address, upstream, _refusals):
        target = target.replace(b"{port}", str(upstream.port).encode())
        answered = await say(address, b"CONNECT " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answered.split(b" ")[1] in (b"403", b"502")
    assert upstream.heads == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\rGET http://b.example/ HTTP/1.1\r\n\r\n",
        b"X: a\n\nGET / HTTP/1.1\r\n\r\n",
        b"X: \0\r\n\r\n",
    ],
)
async def test_a_request_that_two_readers_may_read_differently_goes_once_or_not(headers: bytes):
    async with running("127.0.0.1:{port}!") as (_proxy, address, upstream, _refusals):
        head = f"POST http://127.0.0.1:{upstream.port}/ HTTP/1.1\r\nHost: x\r\n".encode()
        await say(address, head + b"Connection: close\r\n" + headers)
    assert len(upstream.heads) <= 1
    for seen in upstream.heads:
        assert seen.count(b"HTTP/1.1") == 1
        assert seen.lower().count(b"content-length") <= 1


async def test_a_length_and_chunks_at_once_are_sent_on_as_chunks_alone():
    seen: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        seen.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with running(f"127.0.0.1:{port}!") as (_proxy, address, *_others):
        head = f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n".encode()
        smuggled = b"GET http://b.example/ HTTP/1.1\r\nHost: x\r\n\r\n"
        body = b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
        assert (await say(address, head + body)).startswith(b"HTTP/1.1 200 ")
    server.close()
    assert b"content-length" not in seen[0].lower()
    assert b"b.example" not in b"".join(seen)


async def test_a_placeholder_is_no_way_to_another_host_by_any_part_of_a_request():
    secrets = SecretStore({"API_KEY": Secret("the-real-value", hosts=["api.example"])})
    placeholder = secrets.placeholders["API_KEY"].encode()
    async with running(
        "127.0.0.1:{port}!", "api.example:{port}!", secrets=secrets, resolve=to_loopback
    ) as (_proxy, address, upstream, _refusals):
        there = b"127.0.0.1:%d" % upstream.port
        for request in (
            b"GET http://" + there + b"/?api.example HTTP/1.1\r\nHost: api.example\r\n"
            b"X: " + placeholder + b"\r\n\r\n",
            b"GET http://api.example@" + there + b"/" + placeholder + b" HTTP/1.1\r\n"
            b"Host: api.example\r\n\r\n",
            b"GET http://" + there + b"/ HTTP/1.1\r\nHost: api.example:80\r\n"
            b"X-Forwarded-Host: api.example\r\nCookie: " + placeholder + b"\r\n\r\n",
        ):
            await say(address, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert len(upstream.heads) == 3
        assert all(b"the-real-value" not in seen for seen in upstream.heads)


async def test_a_placeholder_very_many_times_is_refused_before_it_takes_memory():
    secrets = SecretStore({"API_KEY": Secret("v" * 16_000, hosts=["127.0.0.1"])})
    placeholder = secrets.placeholders["API_KEY"]
    async with running("127.0.0.1:{port}!", secrets=secrets) as running_proxy:
        _proxy, address, upstream, _refusals = running_proxy
        status, text = await fetch(
            address, f"http://127.0.0.1:{upstream.port}/", (placeholder * 20_000).encode()
        )
    assert (status, upstream.heads) == (502, [])
    assert "very many times" in text
    assert "vvvv" not in text


async def test_an_upstream_that_says_the_value_in_its_status_line_says_a_placeholder():
    secrets = SecretStore({"API_KEY": Secret("the-real-value", hosts=["127.0.0.1"])})

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 the-real-value\r\nX: the-real-value\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with running(f"127.0.0.1:{port}!", secrets=secrets) as (_proxy, address, *_others):
        request = f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answered = await say(address, request.encode())
    server.close()
    assert answered.startswith(b"HTTP/1.1 200 cellblock-secret-")
    assert b"the-real-value" not in answered


@pytest.mark.parametrize("resets", ["the server", "the client"])
async def test_a_connection_that_is_reset_ends_and_nothing_is_said_of_it(resets: str):
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    reset = asyncio.Event()

    def end_by_reset(writer: asyncio.StreamWriter) -> None:
        there: socket.socket = writer.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        if resets == "the server":
            end_by_reset(writer)
        else:
            await reader.read()
            writer.close()
        reset.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    listener = socket.create_server(("127.0.0.1", 0))
    async with running("127.0.0.1:{port}!") as (proxy, _address, _upstream, _refusals):
        await proxy.forward(listener, server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"x")
        await writer.drain()
        if resets == "the client":
            await asyncio.sleep(0.05)
            end_by_reset(writer)
        await asyncio.wait_for(reset.wait(), 10)
        if resets == "the server":
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
    server.close()
    assert said == []
