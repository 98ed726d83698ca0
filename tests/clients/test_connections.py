"""Connections that never say what they want, or never read, cost others nothing."""

import contextlib
import http.client
import json
import logging
import socket
import time

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import ServerSettings
from runner.server.http import connections

HEAD = b"POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\nx-a: "


@pytest.fixture(scope="module")
def server():
    few = ServerSettings(heartbeat_s=0.2, grace_s=1, head_s=0.5, connections_per_address=8)
    with serving(directory(TalkModel({})), config(server=few)) as running:
        yield running


def connected(server) -> socket.socket:
    port = int(server.origin.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def is_served(server) -> bool:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.get(f"{server.origin}/v1/sessions", headers=headers, timeout=5).status_code == 200


def test_a_head_that_is_not_whole_in_time_is_answered_and_closed(server, caplog):
    with connected(server) as silent, connected(server) as half, caplog.at_level(logging.WARNING):
        half.sendall(HEAD)
        began = time.monotonic()
        for one in (silent, half):
            reply = http.client.HTTPResponse(one)
            reply.begin()
            assert (reply.status, one.recv(1)) == (408, b"")
        assert 0.3 < time.monotonic() - began < 5
    facts = [record.facts for record in caplog.records if hasattr(record, "facts")]
    assert any(
        (one.get("reason"), one.get("address")) == ("a head was not whole in time", "127.0.0.1")
        for one in facts
    )


def test_a_head_that_comes_a_byte_at_a_time_is_late_too(server):
    with connected(server) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: ")
        slow.settimeout(0.05)
        answer = b""
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                answer = slow.recv(100)
                break
            slow.sendall(b"a")
        assert answer.startswith(b"HTTP/1.1 408")


def test_the_connection_that_waited_longest_gives_way(server, caplog):
    with caplog.at_level(logging.WARNING):
        waiting = [connected(server) for _ in range(12)]
        for one in waiting:
            one.sendall(HEAD)
        assert is_served(server)
    reasons = [record.facts["reason"] for record in caplog.records if hasattr(record, "facts")]
    assert "too many connections of one address" in reasons
    for one in waiting:
        one.close()


@pytest.mark.slow
def test_a_connection_with_a_request_is_not_ended_for_anothers_sake(server):
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.origin, headers=headers, timeout=30) as client:
        made = client.post("/v1/sessions").json()["id"]
        body = {"code": "import time; time.sleep(1)\n'done'", "stream": True}
        with client.stream("POST", f"/v1/sessions/{made}/run", json=body) as reply:
            lines = reply.iter_lines()
            assert next(lines) == "event: started"
            others = [connected(server) for _ in range(12)]
            assert any('"text":"\'done\'"' in line.replace(" ", "") for line in lines)
        for one in others:
            one.close()
        client.delete(f"/v1/sessions/{made}")


def test_a_head_without_an_end_is_refused_before_its_time(server):
    with connected(server) as endless:
        endless.sendall(HEAD + b"a" * (connections.HEAD_BYTES + 1))
        reply = http.client.HTTPResponse(endless)
        reply.begin()
        assert reply.status == 431


def test_a_client_that_reads_nothing_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(connections, "UNREAD_S", 0.3)
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.origin, headers=headers, timeout=30) as client:
        made = client.post("/v1/sessions").json()["id"]
        code = "for n in range(200): print('x' * 100_000)"
        limits = {"output_bytes": 32 * 1024 * 1024, "kept_bytes": 1024}
        body = json.dumps({"code": code, "stream": True, "limits": limits}).encode()
        head = (
            f"POST /v1/sessions/{made}/run HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        with connected(server) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(head.encode() + body)
            server.wait_until(lambda: server.services.streams.open)
            server.wait_until(lambda: not server.services.streams.open)
        client.delete(f"/v1/sessions/{made}")


@pytest.mark.slow
def test_a_client_keeps_its_connection_from_request_to_request(server):
    with connected(server) as kept:
        for _ in range(3):
            kept.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            reply = http.client.HTTPResponse(kept)
            reply.begin()
            assert reply.status == 200
            reply.read()
            time.sleep(0.7)  # Longer than a head may take: an idle time is not a late head.


def test_a_connection_is_upgraded_only_where_there_is_a_socket(server):
    with connected(server) as asking:
        asking.sendall(
            b"GET /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"sec-websocket-version: 13\r\n\r\n"
        )
        reply = http.client.HTTPResponse(asking)
        reply.begin()
        assert reply.status == 403
