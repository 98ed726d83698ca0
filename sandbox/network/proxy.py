"""Forwards a session's HTTP requests and tunnels to the hosts that its policy names.

Theory of operation
===================

    snippet ── 127.0.0.1:PORT in the session's net namespace ── this proxy, in the host process ──
    the host's network

The jail has no network but its own loopback. The session makes a listening socket there before
any snippet runs and hands it to the host, which accepts on it: a socket belongs to the namespace
that it was made in, so no other process of the host can be reached through it. The usual variables
(`HTTPS_PROXY` and so on) lead clients here.

A request is let through if a rule names its host and port. Then the host resolves the name, drops
addresses that are not public unless the rule ends in `!`, and connects to one of those that are
left, by number: a name that changes its mind in between changes nothing. HTTPS is a tunnel whose
content is not looked at, but for hosts that a secret may go to: there the proxy ends TLS itself,
with a certificate of the session's own authority, and speaks TLS with the host in its turn.

All that comes from either side is bounded: heads, times, connections, what is held of a body.
HTTP/1.1 is h11's to parse.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from sandbox.network.authority import Authority
from sandbox.network.connections import (
    CHUNK_BYTES,
    DIAL_WITHIN_S,
    HEAD_CAP_BYTES,
    IDLE_S,
    Peer,
    Route,
    Unreachable,
    answer,
    bracketed,
    dial,
    pump,
    read_in_chunks,
    server_side,
)
from sandbox.network.rules import (
    NAME_CAP,
    NetworkRule,
    NetworkRules,
    address_of,
    is_public,
    normal_host,
)
from sandbox.network.secrets import SecretStore

BODY_HELD_BYTES = 1024 * 1024
"""A longer body with a secret in it goes to the host in chunks."""
BODIES_HELD_BYTES = 2 * 1024 * 1024
"""Of all connections together: each has its share."""
CONNECTIONS_CAP = 64
INTERCEPTED_CAP = 16
"""Tunnels in which TLS ends here: asyncio holds 256 KiB for each end of one."""
HEAD_WITHIN_S = 30.0
METHOD_CAP = 20
"""Characters of a request's method that a refusal tells."""
HINT_CAP = 600
NO_RULE = "network"
REFUSED_HEAD_WITHIN_S = 2.0
OF_LOOPBACK = "is of the host's loopback, which is no public address"
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer"
    b" upgrade expect".split()
)
"""Headers that are about one connection. Source: RFC 9110, section 7.6.1."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class NetworkUsage:
    """What a session's requests came to so far."""

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def copy(self) -> "NetworkUsage":
        """The same numbers, which go on by themselves."""
        return replace(self)


class Refusal(NamedTuple):
    """A request that was not let through."""

    method: str
    host: str
    port: int
    rule: str
    """The one that named the host; `network` where none did."""
    hint: str
    allow_with: str
    """The smallest change of the policy that would let it through, as TOML; empty for none."""

    @property
    def tried(self) -> str:
        """As in `GET example.org:80`."""
        return f"{self.method} {bracketed(self.host)}:{self.port}"


class Refused(Exception):
    """A request that the rules do not let through."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.hint)
        self.refusal = refusal


class Proxy:
    """The way out of one session: `start` it on the session's socket, `close` it at the end."""

    def __init__(
        self,
        rules: NetworkRules,
        secrets: SecretStore,
        *,
        authority: Authority | None = None,
        on_refused: Callable[[Refusal], None] = lambda _refusal: None,
        resolve: Resolve | None = None,
        upstream_tls: ssl.SSLContext | None = None,
    ) -> None:
        """`authority` is needed where a secret goes to a host over HTTPS."""
        self.usage = NetworkUsage()
        self._rules = rules
        self._secrets = secrets
        self._authority = authority
        self._on_refused = on_refused
        self._resolve = resolve or _resolve
        self._upstream_tls = upstream_tls
        self._intercepted = 0
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        """Accept on `listener`, which is the proxy's from now on."""
        await self._listen(listener, self._serve)

    async def forward(self, listener: socket.socket, port: int) -> None:
        """Join what connects to `listener` to `port` of the host's loopback, byte by byte."""

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await dial(Route("127.0.0.1", port, ("127.0.0.1",)), None)
            self.usage.requests += 1
            try:
                await self._pump_both(Peer(reader, writer, server_side()), *there)
            finally:
                there[1].close()

        await self._listen(listener, join)

    async def refuse(self, listener: socket.socket, rule: NetworkRule) -> None:
        """Tell what connects to `listener`, past the proxy, that `rule` does not let it through."""

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hint = f"{rule} {OF_LOOPBACK}"
            self._refused("CONNECT", rule.host, rule.port, str(rule), hint, f"{rule}!")
            peer = Peer(reader, writer, server_side())
            if isinstance(await peer.next_event(REFUSED_HEAD_WITHIN_S), h11.Request):
                await answer(peer, 403, hint)

        await self._listen(listener, tell)

    def abort(self) -> None:
        """Stop listening and end every connection. Does not wait."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Stop listening, end every connection and wait for that."""
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, listener: socket.socket, serve: Serve) -> None:
        self._servers.append(
            await asyncio.start_server(
                lambda reader, writer: self._accept(reader, writer, serve),
                sock=listener,
                limit=CHUNK_BYTES,
            )
        )

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS_CAP:
            writer.write(b"HTTP/1.1 503 Too many connections\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        self._tasks.add(task)
        read_in_chunks(writer)
        try:
            await serve(reader, writer)
        except (Unreachable, OSError, TimeoutError, h11.ProtocolError, asyncio.IncompleteReadError):
            pass  # Either side went away or spoke no HTTP: what was begun is over.
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Peer(reader, writer, server_side())
        while True:
            request = await client.next_event(HEAD_WITHIN_S)
            if not isinstance(request, h11.Request):
                return
            try:
                if request.method == b"CONNECT":
                    await self._connect(client, request)
                    return
                url = urlsplit(request.target.decode("latin-1"))
                if url.scheme != "http" or not url.hostname:
                    await answer(client, 400, "This is a proxy: it wants absolute http URLs")
                    return
                target = url._replace(scheme="", netloc="").geturl() or "/"
                route = await self._route(
                    request.method.decode("latin-1"), url.hostname, url.port or 80
                )
                goes_on = await self._forward(client, request, route, target.encode(), tls=None)
            except Refused as refused:
                await answer(client, 403, refused.refusal.hint)
                return
            except (Unreachable, ValueError) as error:
                await answer(client, 502, str(error))
                return
            if not goes_on:
                return
            client.http.start_next_cycle()

    # ---- rules ----------------------------------------------------------------------------------

    async def _route(self, method: str, host_text: str, port: int) -> Route:
        """Where a request to `host_text` may go. Raises Refused, Unreachable, ValueError."""
        try:
            host = normal_host(host_text)
        except ValueError as error:
            raise self._refused(method, host_text, port, NO_RULE, str(error), "") from None
        place = f"{bracketed(host)}:{port}"
        rule = self._rules.match(host, port)
        if rule is None:
            private = address_of(host) is not None and not is_public(host)
            hint = f"{place} is in no rule of the policy's network"
            wanted = f"{place}!" if private else place
            raise self._refused(method, host, port, NO_RULE, hint, wanted)
        addresses = [host] if address_of(host) is not None else await self._lookup(host, port)
        allowed = tuple(one for one in addresses if rule.allows_private or is_public(one))
        if not allowed:
            hint = f"{place} leads to {addresses[0]}, which is no public address"
            raise self._refused(method, host, port, str(rule), hint, f"{place}!")
        return Route(host, port, allowed)

    async def _lookup(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(DIAL_WITHIN_S):
                addresses = await self._resolve(host, port)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"{host} has no address: {error}") from error
        if not addresses:
            raise Unreachable(f"{host} has no address")
        return addresses

    def _refused(
        self, method: str, host: str, port: int, rule: str, hint: str, wanted: str
    ) -> Refused:
        allow_with = f'network = ["{wanted}"]' if wanted else ""
        method, host, hint = method[:METHOD_CAP], host[:NAME_CAP], hint[:HINT_CAP]
        refusal = Refusal(method, host, port, rule, hint, allow_with)
        self._on_refused(refusal)
        return Refused(refusal)

    # ---- tunnels --------------------------------------------------------------------------------

    async def _connect(self, client: Peer, request: h11.Request) -> None:
        host, _, port = request.target.decode("latin-1").rpartition(":")
        if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
            raise ValueError("CONNECT wants host:port")
        route = await self._route("CONNECT", host, int(port))
        await client.next_event(HEAD_WITHIN_S)  # The end of a request without a body.
        if self._secrets.are_for(route.host):
            if self._intercepted >= INTERCEPTED_CAP:
                raise Unreachable(f"more than {INTERCEPTED_CAP} tunnels for secrets at a time")
            self._intercepted += 1
            try:
                await self._intercept(client, route)
            finally:
                self._intercepted -= 1
            return
        reader, writer = await dial(route, None)
        self.usage.requests += 1
        try:
            await client.send(h11.Response(status_code=200, headers=[], reason=b"OK"))
            early, _is_over = client.http.trailing_data
            if early:
                writer.write(early)
                self.usage.sent_bytes += len(early)
            await self._pump_both(client, reader, writer)
        finally:
            writer.close()

    async def _pump_both(
        self, client: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        def sent(count: int) -> None:
            self.usage.sent_bytes += count

        def received(count: int) -> None:
            self.usage.received_bytes += count

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(client.reader, writer, sent))
                group.create_task(pump(reader, client.writer, received))
        except* (OSError, TimeoutError):
            pass  # Either side went away: both ways of this connection are over.

    async def _intercept(self, client: Peer, route: Route) -> None:
        """Be the host for the client, and the client for the host; put secrets in on the way."""
        if self._authority is None:
            raise ValueError("this session has no authority for certificates")
        await client.send(h11.Response(status_code=200, headers=[], reason=b"OK"))
        await client.writer.start_tls(self._authority.context_for(route.host))
        tls = self._upstream_tls or ssl.create_default_context()
        inner = Peer(client.reader, client.writer, server_side())
        while True:
            request = await inner.next_event(IDLE_S)
            if not isinstance(request, h11.Request):
                return
            try:
                goes_on = await self._forward(inner, request, route, request.target, tls=tls)
            except (Unreachable, ValueError) as error:
                await answer(inner, 502, str(error))
                return
            if not goes_on:
                return
            inner.http.start_next_cycle()

    # ---- requests -------------------------------------------------------------------------------

    async def _forward(
        self,
        client: Peer,
        request: h11.Request,
        route: Route,
        target: bytes,
        *,
        tls: ssl.SSLContext | None,
    ) -> bool:
        """One request and its answer; whether the client's connection can take another one."""
        reader, writer = await dial(route, tls)
        upstream = Peer(reader, writer, h11.Connection(h11.CLIENT, HEAD_CAP_BYTES))
        self.usage.requests += 1
        try:
            await self._send_request(client, upstream, request, route, target, is_tls=bool(tls))
            await self._sendanswer(client, upstream, route)
        finally:
            writer.close()
        return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE

    async def _send_request(
        self,
        client: Peer,
        upstream: Peer,
        request: h11.Request,
        route: Route,
        target: bytes,
        *,
        is_tls: bool,
    ) -> None:
        has_secrets = self._secrets.are_for(route.host)
        default = 443 if is_tls else 80
        named = bracketed(route.host) if route.port == default else route.place
        headers = [
            (name, self._secrets.reveal(value, route.host))
            for name, value in request.headers
            if name not in HOP_BY_HOP and name != b"host"
        ]
        headers = [(b"host", named.encode()), *headers, (b"connection", b"close")]
        if has_secrets:
            # What comes back is looked through, so it must not be packed.
            headers = [pair for pair in headers if pair[0] != b"accept-encoding"]
            headers.append((b"accept-encoding", b"identity"))
        if any(name == b"transfer-encoding" for name, _value in headers):
            # Both at once are read in one way here, and might be in another one there.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        held, is_whole = (await self._held_body(client)) if has_secrets else (b"", False)
        if has_secrets:
            held = self._secrets.reveal(held, route.host)
            headers = [
                pair for pair in headers if pair[0] not in (b"content-length", b"transfer-encoding")
            ]
            if not is_whole:
                headers.append((b"transfer-encoding", b"chunked"))
            elif held:
                headers.append((b"content-length", str(len(held)).encode()))
        head = h11.Request(
            method=request.method,
            target=self._secrets.reveal(target, route.host),
            headers=headers,
        )
        self.usage.sent_bytes += await upstream.send(head)
        if held:
            self.usage.sent_bytes += await upstream.send(h11.Data(data=held))
        while not is_whole:
            event = await client.next_event(IDLE_S)
            if isinstance(event, h11.Data):
                data = self._secrets.reveal(bytes(event.data), route.host)
                self.usage.sent_bytes += await upstream.send(h11.Data(data=data))
            else:
                break
        self.usage.sent_bytes += await upstream.send(h11.EndOfMessage())

    async def _held_body(self, client: Peer) -> tuple[bytes, bool]:
        """The beginning of a request's body, and whether that is all of it."""
        held = b""
        share = min(BODY_HELD_BYTES, BODIES_HELD_BYTES // max(1, len(self._tasks)))
        while len(held) < share:
            event = await client.next_event(IDLE_S)
            if not isinstance(event, h11.Data):
                return held, True
            held += event.data
        return held, False

    async def _sendanswer(self, client: Peer, upstream: Peer, route: Route) -> None:
        masker = self._secrets.masker() if self._secrets.are_for(route.host) else None
        while True:
            event = await upstream.next_event(IDLE_S)
            if isinstance(event, h11.InformationalResponse):
                continue
            if isinstance(event, h11.Response):
                await client.send(self._client_response(event, is_masked=masker is not None))
            elif isinstance(event, h11.Data):
                self.usage.received_bytes += len(event.data)
                data = masker.feed(bytes(event.data)) if masker is not None else event.data
                if data:
                    await client.send(h11.Data(data=data))
            else:
                if masker is not None and (rest := masker.finish()):
                    await client.send(h11.Data(data=rest))
                await client.send(h11.EndOfMessage())
                return

    def _client_response(self, response: h11.Response, *, is_masked: bool) -> h11.Response:
        left_out = HOP_BY_HOP | {b"transfer-encoding"}
        if is_masked:
            left_out |= {b"content-length"}  # A placeholder may be longer than what it replaces.
        headers = [
            (name, self._secrets.mask(value))
            for name, value in response.headers
            if name not in left_out
        ]
        return h11.Response(
            status_code=response.status_code,
            headers=headers,
            reason=self._secrets.mask(bytes(response.reason)),
        )


async def _resolve(host: str, port: int) -> list[str]:
    """Addresses of `host`, as the host's own resolver gives them."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))
