"""`Sandbox.connect`: what goes wrong with the server in between, and what a hostile one tries."""

import asyncio
import contextlib
import inspect
import socket
import ssl
import threading
import time

import pytest
import trustme
from serving import KEY, TalkModel, config, directory, serving

from runner.config import ServerSettings
from runner.server.session_api import expectations
from sandbox import (
    AsyncRemoteSandbox,
    AsyncRemoteSession,
    AsyncSandbox,
    AsyncSession,
    CheckpointDropped,
    HostTool,
    Limits,
    NotRemote,
    PackagesNotInstalled,
    PolicyError,
    RemoteFailed,
    Sandbox,
    SandboxError,
    ServerBusy,
    SessionError,
    SessionExpired,
    SessionLost,
)
from sandbox.remote import event_stream
from sandbox.remote import server as remote_server
from tests.wheels import wheel

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
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # Closed at the end of the test.
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


def test_what_is_the_servers_own_is_refused_by_name(box):
    with box.session() as session:
        with pytest.raises(NotRemote):
            session.install(["humanize"], index_url="https://example.org/simple")
        with pytest.raises(PolicyError, match="processes"):
            session.run("1", limits=Limits(processes=2))
        assert session.run("1").text == "1"


async def test_the_policy_is_told_to_who_enters(server):
    box = AsyncSandbox.connect(server.origin, key=KEY)
    with pytest.raises(NotRemote, match="entered"):
        assert box.policy
    with pytest.raises(NotRemote, match="kept_jails"):
        box.kept_jails()
    async with box:
        assert box.policy == server.services.box.policy


def test_the_policy_is_not_told_before(server):
    other = Sandbox.connect(server.origin, key=KEY)
    with pytest.raises(NotRemote, match="entered"):
        assert other.policy
    other.close()


@pytest.mark.slow
def test_secrets_of_the_policy_stay_at_the_server():
    policy = {
        "network": ["api.example.com:443"],
        "secrets": {"API": {"value": "very-secret", "hosts": ["api.example.com"]}},
    }
    with (
        serving(directory(TalkModel({})), config(policy=policy)) as running,
        Sandbox.connect(running.origin, key=KEY) as box,
    ):
        found = box.policy
        assert found.network == ("api.example.com:443",)
        assert found.secrets["API"].hosts == ("api.example.com",)
        assert "very-secret" not in repr(found.secrets["API"].value)


def test_sessions_that_are_expected_are_warmed_until_it_is_taken_back(server):
    own = server.services.box
    assert own.expected == 0
    with Sandbox.connect(server.origin, key=KEY) as box:
        box.expect(2)
        server.wait_until(lambda: own.expected == 2)
        box.expect(-1)
        server.wait_until(lambda: own.expected == 1)
        box.expect(1_000_000)  # Within what the key may have open.
        most = server.services.config.keys[0].sessions
        server.wait_until(lambda: own.expected == most)
    assert own.expected == 0


async def test_what_is_expected_lapses_when_it_is_told_no_more(server, monkeypatch):
    changes = []
    monkeypatch.setattr(expectations, "LAPSE_S", 0.05)
    told = expectations.Expectations(changes.append)
    account = server.services.accounts.find(f"Bearer {KEY}")
    assert told.tell(account, "one", 3) == 3
    assert told.tell(account, "one", 2) == 2
    await asyncio.sleep(0.3)
    assert changes == [3, -3, 2, -2]


def test_functions_of_a_box_and_of_a_session_are_those_of_their_runs_and_branches(server):
    def named(name):
        return lambda: name

    with Sandbox.connect(server.origin, key=KEY, tools={"a": named("box")}) as box:
        assert box.run("a()").text == "'box'"
        assert box.run("a() + b()", tools={"b": named("call")}).text == "'boxcall'"
        with box.session(tools={"b": named("session")}) as session, session.fork() as branch:
            assert branch.run("a() + b()").text == "'boxsession'"
            code = "print(a())"
            kinds = [type(event).__name__ for event in session.stream(code)]
            assert kinds == ["Started", "Stdout", "Finished"]


def test_answers_of_any_size_and_kind_come_back(box):
    tools = {"f": lambda: "x" * 3_000_000, "g": lambda: float("inf"), "h": lambda: "\ud800"}
    outcome = box.run("len(f())", tools=tools)
    assert outcome.text == "3000000"
    assert box.run("g()", tools=tools).error.type == "RuntimeError"
    assert box.run("1, h()", tools=tools).text == "(1, '\\ud800')"
    [call] = box.run("h()", tools=tools).tool_calls
    assert call.result == "?"


def test_settings_of_a_session_are_the_clients(box):
    with box.session(ttl_s=0.5, checkpoints=1) as session:
        session.put("f", b"kept")
        first, second = session.checkpoint(), session.checkpoint()
        with pytest.raises(CheckpointDropped):
            session.rollback(first)
        session.rollback(second)
        time.sleep(0.8)
        with pytest.raises(SessionExpired):
            session.run("1")
        assert (session.is_live, session.get("f")) == (False, b"kept")
    for wrong in ({"ttl_s": -1}, {"checkpoints": 0}):
        with pytest.raises(PolicyError):
            box.session(**wrong)


def test_a_box_checks_code_in_a_session_that_is_gone(server, box):
    assert [row[0] for row in box.check("import json").imports] == ["json"]
    assert server.services.sessions.all() == []


def test_programs_end_with_their_session_and_their_connection(server, box):
    with box.session() as session:
        process = session.popen(["sleep", "60"])
        assert (process.is_running, process.pid) == (True, 0)
        next(iter(session.exec_stream("echo a; sleep 60")))
    server.wait_until(lambda: not server.services.sessions.programs)
    with pytest.raises(SandboxError):
        process.wait()


def test_a_server_behind_tls_is_reached_and_one_that_nobody_vouches_for_is_not():
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving(directory(TalkModel({}))) as running, behind_tls(running, served) as url:
        with Sandbox.connect(url, key=KEY, tls=trusting) as box, box.session() as session:
            session.put("f", b"x" * 300_000)
            outcome = session.run("len(open('f').read()) + f()", tools={"f": lambda: 1})
            assert outcome.text == "300001"
            assert session.exec(["cat"], stdin=b"in").stdout == b"in"
        with pytest.raises(RemoteFailed, match="certificate"):
            Sandbox.connect(url, key=KEY).session()


@contextlib.contextmanager
def behind_tls(running, served: ssl.SSLContext):
    """An address where TLS is taken off and what is inside handed on to a server."""
    port = int(running.origin.rpartition(":")[2])
    ready: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []
    begun = threading.Event()

    async def hand_on(reader, writer) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source, target) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async def main() -> None:
        listening = await asyncio.start_server(hand_on, "127.0.0.1", 0, ssl=served)
        stop = asyncio.Event()
        ready.append((listening.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        begun.set()
        async with listening:
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert begun.wait(10)
    [(own, loop, stop)] = ready
    try:
        yield f"https://127.0.0.1:{own}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def test_packages_are_laid_into_a_session_over_there(tmp_path, monkeypatch):
    wheel(tmp_path, "cbfar", "1.5")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")
    settings = config(server=ServerSettings(install=True))
    with (
        serving(directory(TalkModel({})), settings) as running,
        Sandbox.connect(running.origin, key=KEY) as box,
        box.session() as session,
    ):
        assert session.install(["cbfar"]) == ["cbfar==1.5"]
        assert session.run("import cbfar; cbfar.VERSION").text == "'1.5'"
        with pytest.raises(PackagesNotInstalled):
            session.install(["cbnowhere"])


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
        b'event: tool_call\ndata: {"call_id": 1, "name": "len", "args": 7, "kwargs": {}}\n\n',
        b"nothing of the kind\n\n",
    ],
)
def test_a_stream_of_nonsense_is_an_error(stream):
    with answering(reply(OPENED), reply(stream), reply(b"{}")) as (url, _):
        session = Sandbox.connect(url).session()
        with pytest.raises(RemoteFailed):
            session.run("1", tools={"len": lambda: 1})
        session.close()


def test_a_hostile_server_calls_only_what_was_given_and_as_often_as_allowed():
    called = []
    row = b'event: tool_call\ndata: {"call_id": "c", "name": "f", "args": [%d], "kwargs": {}}\n\n'
    stream = b"".join(row % number for number in range(4))
    taken = [reply(b"{}")] * 4
    tools = {"f": HostTool(lambda number: called.append(number), max_calls=2)}
    with answering(reply(OPENED), reply(stream + b" " * 10_000), *taken) as (url, heads):
        session = Sandbox.connect(url).session()
        with pytest.raises(RemoteFailed):
            session.run("1", tools=tools)
        assert len(called) <= 2
        assert all(b"PermissionError" in head for head in heads[4:])
        for _ in range(6 - len(heads)):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()


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
