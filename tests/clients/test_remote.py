"""`Sandbox.connect`: what goes wrong with the server in between, and what a hostile one tries."""

import asyncio
import contextlib
import inspect
import socket
import threading
import time

import pytest
from serving import KEY, TalkModel, directory, serving

from sandbox import (
    AsyncRemoteSandbox,
    AsyncRemoteSession,
    AsyncSandbox,
    AsyncSession,
    Limits,
    NotRemote,
    PolicyError,
    RemoteFailed,
    Sandbox,
    ServerBusy,
    SessionError,
    SessionLost,
)
from sandbox.remote import event_stream
from sandbox.remote import server as remote_server

OPENED = b'{"id": "sess_1", "layers": ["seccomp"]}'


@pytest.fixture(scope="module")
def server():
    with serving(directory(TalkModel({}))) as running:
        yield running


@pytest.fixture
def box(server):
    with Sandbox.connect(server.origin, key=KEY) as box:
        yield box


@contextlib.contextmanager
def answering(*answers: bytes):
    """A server of one answer for each connection; gives its address, and the heads it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(65536))
                with contextlib.suppress(OSError):
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
    finally:
        listener.close()
        thread.join(5)


def reply(body: bytes, *, status: bytes = b"200 OK", head: bytes = b"") -> bytes:
    length = str(len(body)).encode()
    return b"HTTP/1.1 %s\r\n%scontent-length: %s\r\n\r\n%s" % (status, head, length, body)


def signatures(cls: type) -> dict[str, object]:
    """Parameters of the public calls, by name; None for what is no call."""
    found: dict[str, object] = {}
    for name in dir(cls):
        if not name.startswith("_"):
            value = getattr(cls, name)
            rows = inspect.signature(value).parameters.values() if callable(value) else None
            found[name] = rows and [(row.name, row.kind, row.default) for row in rows]
    return found


@pytest.mark.parametrize(
    ("here", "remote", "beside"),
    [
        (AsyncSandbox, AsyncRemoteSandbox, {"connect", "kept_jails"}),
        (AsyncSession, AsyncRemoteSession, set()),
    ],
)
def test_the_calls_are_those_of_this_machine(here, remote, beside):
    wanted = {name: row for name, row in signatures(here).items() if name not in beside}
    found = signatures(remote)
    assert {name: found.get(name) for name in wanted} == wanted


# ---- the real server ----------------------------------------------------------------------------


def test_one_snippet_runs_as_a_program_in_a_session_that_is_gone(server, box):
    outcome = box.run("import atexit; atexit.register(print, 'end'); 1", limits=Limits(wall_s=20))
    assert (outcome.status, outcome.stdout) == ("completed", "end\n")
    assert [(index, one.text) for index, one in box.map(["6", "7"])] == [(0, "6"), (1, "7")]
    assert server.services.sessions.all() == []


def test_what_was_left_open_ends_with_the_box(server):
    with Sandbox.connect(server.origin, key=KEY) as box:
        box.session().fork()
        assert len(server.services.sessions.all()) == 2
    assert server.services.sessions.all() == []


def test_a_wrong_key_and_an_address_without_a_server(server):
    with pytest.raises(RemoteFailed, match="key") as seen, Sandbox.connect(server.origin, key="a"):
        pytest.fail("it was entered")
    assert seen.value.status == 401
    for url in ("http://127.0.0.1:1", server.origin + "/nowhere"):
        with pytest.raises(RemoteFailed):
            Sandbox.connect(url, key=KEY).session()


@pytest.mark.parametrize(
    "url", ["", "ftp://host", "http://", "http://a:b@host", "http://host:x", "http://h/?a=b"]
)
def test_what_is_no_address_is_told_at_once(url):
    with pytest.raises(PolicyError, match="url"):
        Sandbox.connect(url)


def test_a_session_that_the_server_ended_is_lost_and_says_so(server, box):
    session = box.session()
    ending = server.services.sessions.end(server.services.sessions.all()[-1])
    assert server.loop is not None
    asyncio.run_coroutine_threadsafe(ending, server.loop).result(10)
    for _ in range(2):
        with pytest.raises(SessionLost, match="no such session"):
            session.run("1")
    assert session.is_live is False


async def test_a_caller_that_is_cancelled_has_its_snippet_ended(server):
    async with AsyncSandbox.connect(server.origin, key=KEY) as box, box.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.run("x = 1\nwhile True: pass")
        began = time.monotonic()
        assert (await session.run("2")).text == "2"
        assert time.monotonic() - began < 20
        assert await session.ask_live() is True


def test_what_http_does_not_carry_is_refused_by_name(box):
    with box.session() as session:
        for call in (
            lambda: session.popen("true"),
            lambda: session.complete("a"),
            lambda: session.extend(1),
            lambda: box.session(ttl_s=5),
            lambda: box.session(tools={"f": len}),
            lambda: box.run("1", tools={"f": len}),
            lambda: session.run("1", tools={"f": len}),
            lambda: Sandbox.connect("http://127.0.0.1:1", tools={"f": len}),
        ):
            with pytest.raises(NotRemote):
                call()
        with pytest.raises(PolicyError, match="processes"):
            session.run("1", limits=Limits(processes=2))
        assert session.run("1").text == "1"


def test_a_source_that_breaks_leaves_what_was_there(box):
    def broken():
        yield b"new"
        raise ZeroDivisionError

    with box.session() as session:
        session.put("f", b"old")
        with pytest.raises(ZeroDivisionError):
            session.put("f", broken())
        assert session.get("f") == b"old"


# ---- a server that is none of ours --------------------------------------------------------------


def test_the_key_goes_nowhere_else_by_a_redirect():
    with answering(b"") as (elsewhere, stolen):
        moved = reply(b"", status=b"307 Moved", head=b"location: %s/\r\n" % elsewhere.encode())
        with answering(moved) as (url, heads), pytest.raises(RemoteFailed) as seen:
            Sandbox.connect(url, key=KEY).session()
        assert (seen.value.status, stolen) == (307, [])
        assert KEY.encode() in heads[0]
        socket.create_connection(("127.0.0.1", int(elsewhere.rpartition(":")[2]))).close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
        reply(b"[]"),
        reply(b"[" * 100_000),
        reply(b'{"id": 7}'),
        reply(b'{"id": "../x", "layers": []}'),
        reply(OPENED)[:-3],
        reply(b"<html>", status=b"502 Bad Gateway"),
        reply(b'{"error": []}', status=b"400 Bad Request"),
    ],
)
def test_nonsense_is_an_error_with_the_servers_name(answer):
    with answering(answer) as (url, _), pytest.raises(RemoteFailed) as seen:
        Sandbox.connect(url, key=KEY).session()
    assert seen.value.server in url


def test_a_server_without_room_says_when_to_come_again():
    body = b'{"error": {"message": "Busy.", "code": "server_overloaded", "param": null}}'
    busy = reply(body, status=b"503 Service Unavailable", head=b"retry-after: 3\r\n")
    with answering(busy) as (url, _), pytest.raises(ServerBusy) as seen:
        Sandbox.connect(url).session()
    assert seen.value.retry_after_s == 3.0


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"event: started\ndata: {}\n\n",
        b"event: finished\ndata: {}\n\n",
        b'event: stdout\ndata: {"text": "a", "raw_base64": 7}\n\n',
        b"event: other\ndata: 1\n\n",
        b'event: tool_call\ndata: {"call_id": 1, "name": "f", "args": [], "kwargs": {}}\n\n',
        b"nothing of the kind\n\n",
    ],
)
def test_a_stream_of_nonsense_is_an_error(stream):
    with answering(reply(OPENED), reply(stream), reply(b"{}")) as (url, _):
        session = Sandbox.connect(url).session()
        with pytest.raises(RemoteFailed):
            session.run("1")
        session.close()


def test_a_lost_session_in_a_stream_is_the_error_that_it_is_here():
    lost = b'event: error\ndata: {"message": "Gone.", "code": "guest_fault", "param": null}\n\n'
    with answering(reply(OPENED), reply(b": keep-alive\n\n" + lost)) as (url, _):
        session = Sandbox.connect(url).session()
        with pytest.raises(SessionError, match="Gone"):
            session.run("1")
        assert session.is_live is False


def test_answers_and_frames_without_an_end_are_bounded(monkeypatch):
    monkeypatch.setattr(remote_server, "ANSWER_CAP_BYTES", 1000)
    monkeypatch.setattr(event_stream, "FRAME_CAP_BYTES", 1000)
    with answering(reply(b" " * 5000)) as (url, _), pytest.raises(RemoteFailed, match="1000"):
        Sandbox.connect(url).session()
    with answering(reply(OPENED), reply(b"event: stdout\ndata: " + b"a" * 5000)) as (url, _):
        session = Sandbox.connect(url).session()
        with pytest.raises(RemoteFailed, match="1000"):
            session.run("1")
