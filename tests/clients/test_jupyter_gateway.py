"""Jupyter's REST and WebSocket of the server, as its clients speak them."""

import asyncio
import contextlib
import json
import socket
import struct
import time
import uuid
from itertools import pairwise

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from runner.config import KeySettings, ServerSettings
from runner.server.jupyter.frames import V1

OTHER = "sk-other-key"
TOKEN = {"authorization": f"token {KEY}"}
WAIT_S = 30
UNANSWERED = (InvalidMessage, ConnectionClosed, OSError)
"""How a client sees that its connection was closed: its request may be on its way by then."""


@pytest.fixture(scope="module")
def gateway():
    keys = (
        KeySettings(key=KEY, requests_per_minute=100_000, concurrent_requests=50, sessions=3),
        KeySettings(key=OTHER, tenant="other", requests_per_minute=100_000),
    )
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture
def http(gateway):
    with httpx2.Client(base_url=gateway.origin, headers=TOKEN, timeout=WAIT_S) as client:
        yield client
        for kernel in client.get("/api/kernels").json():
            client.delete(f"/api/kernels/{kernel['id']}")


@pytest.fixture
def kernel(http):
    return http.post("/api/kernels", json={"name": "python3"}).json()


def address(gateway, kernel, query=f"?token={KEY}"):
    return f"{gateway.origin.replace('http', 'ws')}/api/kernels/{kernel['id']}/channels{query}"


class Talk:
    """A client at a kernel, which writes messages as text."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, kind, content, channel="shell"):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "s", "username": "u",
                  "date": "", "version": "5.3"}  # fmt: skip
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content,
                   "channel": channel}  # fmt: skip
        self.socket.send(json.dumps(message))
        return header["msg_id"]

    def execute(self, code, **more):
        return self.send("execute_request", {"code": code, "allow_stdin": False} | more)

    def until(self, is_last):
        found = []
        while not found or not is_last(found[-1]):
            found.append(json.loads(self.socket.recv(timeout=WAIT_S)))
        return found

    def run(self, code, **more):
        """What comes of `code`, up to the word that it is over."""
        asked = self.execute(code, **more)
        found = self.until(
            lambda one: (
                one["parent_header"].get("msg_id") == asked
                and one["content"].get("execution_state") == "idle"
            )
        )
        return [one for one in found if one["msg_type"] != "status"]


@pytest.fixture
def talk(gateway, kernel):
    with connect(address(gateway, kernel)) as line:
        yield Talk(line)


def test_a_cell_gives_its_messages_in_their_order(talk):
    found = talk.run("x = 20\nprint('a')\nx + 1")
    assert [(one["channel"], one["msg_type"]) for one in found] == [
        ("iopub", "execute_input"),
        ("iopub", "stream"),
        ("iopub", "execute_result"),
        ("shell", "execute_reply"),
    ]
    assert found[1]["content"] == {"name": "stdout", "text": "a\n"}
    assert found[2]["content"]["data"] == {"text/plain": "21"}
    assert found[3]["content"]["status"] == "ok"
    error = next(one for one in talk.run("x / 0") if one["msg_type"] == "error")
    assert error["content"]["ename"] == "ZeroDivisionError"
    assert error["content"]["traceback"][-1] == "ZeroDivisionError: division by zero"


def test_output_comes_while_the_cell_runs(talk):
    talk.execute("import time\nprint('first', flush=True)\ntime.sleep(60)")
    talk.until(lambda one: one["msg_type"] == "stream")
    talk.send("interrupt_request", {}, "control")
    (*_, reply) = talk.until(lambda one: one["msg_type"] == "execute_reply")
    assert reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_kernel_is_interrupted_and_restarted_by_rest(http, kernel, talk):
    talk.run("x = 1")
    talk.execute("while True: pass")
    talk.until(lambda one: one["msg_type"] == "execute_input")
    time.sleep(0.3)
    assert http.get(f"/api/kernels/{kernel['id']}").json()["execution_state"] == "busy"
    assert http.post(f"/api/kernels/{kernel['id']}/interrupt").status_code == 204
    (*_, reply) = talk.until(lambda one: one["msg_type"] == "execute_reply")
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert "1" in str(talk.run("x"))
    assert http.post(f"/api/kernels/{kernel['id']}/restart").json()["id"] == kernel["id"]
    talk.until(lambda one: one["content"].get("execution_state") == "restarting")
    assert talk.run("x")[-1]["content"]["ename"] == "NameError"


def test_input_asks_the_socket_that_sent_the_cell(gateway, kernel, talk):
    with connect(address(gateway, kernel)) as line:
        other = Talk(line)
        talk.execute("input('n? ')", allow_stdin=True)
        (*_, question) = talk.until(lambda one: one["channel"] == "stdin")
        assert question["content"]["prompt"] == "n? "
        other.send("input_reply", {"value": "forged"}, "stdin")
        # Both have been read when this has its answer.
        other.send("kernel_info_request", {}, "control")
        other.until(lambda one: one["msg_type"] == "kernel_info_reply")
        talk.send("input_reply", {"value": "own"}, "stdin")
        (*_, result) = talk.until(lambda one: one["msg_type"] == "execute_result")
        assert result["content"]["data"] == {"text/plain": "'own'"}
        seen = other.until(lambda one: one["msg_type"] == "execute_result")
        assert not [one for one in seen if one["channel"] == "stdin"]


def test_the_newer_protocol_carries_parts(gateway, kernel):
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s"}
    parts = [b"shell", *(json.dumps(part).encode() for part in (header, {}, {}, {"code": "6 * 7"}))]
    at = 8 * (len(parts) + 2)
    offsets = [at]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    message = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)
    with connect(address(gateway, kernel), subprotocols=[V1]) as line:
        assert line.subprotocol == V1
        line.send(message)
        while True:
            got = line.recv(timeout=WAIT_S)
            count, *places = struct.unpack_from("<7Q", got)
            assert count == 6
            found = [got[a:b] for a, b in pairwise(places)]
            if json.loads(found[1])["msg_type"] == "execute_result":
                break
    assert found[0] == b"iopub"
    assert json.loads(found[2])["msg_id"] == "1"
    assert json.loads(found[4])["data"] == {"text/plain": "42"}


@pytest.mark.parametrize("by", ["rest", "message"])
def test_a_kernel_that_ends_lets_its_sockets_go(gateway, http, kernel, talk, by):
    if by == "rest":
        http.delete(f"/api/kernels/{kernel['id']}")
    else:
        talk.send("shutdown_request", {"restart": False}, "control")
    talk.until(lambda one: one["content"].get("execution_state") == "dead")
    with pytest.raises(ConnectionClosed) as ended:
        talk.socket.recv(timeout=WAIT_S)
    assert ended.value.rcvd.code == 1001
    assert http.get("/api/kernels").json() == []
    assert gateway.services.slots.of("default") == 0


def test_a_session_names_a_notebook_and_its_kernel(http):
    wanted = {"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    made = http.post("/api/sessions", json=wanted)
    assert made.status_code == 201
    assert http.post("/api/sessions", json=wanted).json()["id"] == made.json()["id"]
    assert [one["path"] for one in http.get("/api/sessions").json()] == ["a.ipynb"]
    assert http.delete(f"/api/sessions/{made.json()['id']}").status_code == 204
    assert http.get("/api/kernels").json() == []


def test_specifications_are_listed(http, gateway):
    found = http.get("/api/kernelspecs").json()
    assert found["default"] == "python3"
    assert found["kernelspecs"]["python3"]["spec"]["language"] == "python"
    assert http.get("/api/kernelspecs/cellblock").json()["name"] == "cellblock"
    assert http.get("/api/kernelspecs/julia").status_code == 404
    assert http.post("/api/kernels", json={"name": "julia"}).status_code == 404
    assert httpx2.get(f"{gateway.origin}/api").json()["version"]


# ---- whose, and how much ------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong"])
def test_without_a_key_there_is_no_socket_and_no_kernel(gateway, kernel, query):
    assert httpx2.post(f"{gateway.origin}/api/kernels{query}").status_code == 401
    with pytest.raises(InvalidStatus) as refused, connect(address(gateway, kernel, query)):
        pass
    assert refused.value.response.status_code == 401


def test_a_kernel_is_of_the_key_that_made_it(gateway, kernel):
    headers = {"authorization": f"token {OTHER}"}
    with httpx2.Client(base_url=gateway.origin, headers=headers, timeout=WAIT_S) as other:
        assert other.get("/api/kernels").json() == []
        assert other.delete(f"/api/kernels/{kernel['id']}").status_code == 404
        assert other.post(f"/api/kernels/{kernel['id']}/interrupt").status_code == 404
    query = f"?token={OTHER}"
    with pytest.raises(InvalidStatus) as refused, connect(address(gateway, kernel, query)):
        pass
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [("Origin", "https://evil.example"), ("Origin", "null"), ("Host", "evil.example")],
)
def test_a_page_of_another_site_opens_no_socket(gateway, kernel, name, value):
    where, options = address(gateway, kernel), {}
    if name == "Host":
        port = int(gateway.origin.rpartition(":")[2])
        where = where.replace("127.0.0.1", value)
        options["sock"] = socket.create_connection(("127.0.0.1", port))
    else:
        options["additional_headers"] = {name: value}
    with pytest.raises(InvalidStatus) as refused, connect(where, **options):
        pass
    assert refused.value.response.status_code == 403


def test_kernels_count_towards_the_keys_sessions(gateway, http):
    made = [http.post("/api/kernels").status_code for _ in range(4)]
    assert made == [201, 201, 201, 429]
    assert gateway.services.slots.of("default") == 3
    for kernel in http.get("/api/kernels").json():
        assert http.delete(f"/api/kernels/{kernel['id']}").status_code == 204
    assert gateway.services.slots.of("default") == 0


def test_a_session_that_an_operator_ended_is_replaced_and_said(gateway, talk):
    talk.run("x = 1")
    (held,) = gateway.services.sessions.all()
    ending = asyncio.run_coroutine_threadsafe(gateway.services.sessions.end(held), gateway.loop)
    ending.result(WAIT_S)
    found = talk.run("1")
    assert (
        "fresh one" in next(one for one in found if one["msg_type"] == "stream")["content"]["text"]
    )
    assert talk.run("x")[-1]["content"]["ename"] == "NameError"


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[]",
        '{"channel": "iopub", "header": {"msg_type": "a"}, "content": {}}',
        '{"channel": "shell", "header": {}, "content": {}}',
        '{"channel": "shell", "header": {"msg_type": "a"}, "content": []}',
        "[" * 100_000,
        "[" + "{}," * 600_000 + "1]",
        b"",
        b"\xff" * 8,
        "x" * (5 * 1024 * 1024),
    ],
)
def test_what_is_no_message_ends_the_socket_alone(gateway, http, kernel, message):
    with connect(address(gateway, kernel)) as line:
        with contextlib.suppress(ConnectionClosed):
            line.send(message)
        with pytest.raises(ConnectionClosed) as ended:
            line.recv(timeout=WAIT_S)
    # A long message is given up while its client still writes, and may so not be told.
    assert ended.value.rcvd is None or ended.value.rcvd.code in (1008, 1009)
    assert ended.value.rcvd is not None or len(message) > 4 * 1024 * 1024
    with connect(address(gateway, kernel)) as line:
        assert "42" in str(Talk(line).run("6 * 7"))


@pytest.mark.slow
def test_requests_over_a_socket_count_against_the_rate():
    keys = (KeySettings(key=KEY, requests_per_minute=6, concurrent_requests=5),)
    with (
        serving(directory(TalkModel({})), config(keys=keys)) as server,
        httpx2.Client(base_url=server.origin, headers=TOKEN, timeout=WAIT_S) as http,
    ):
        kernel = http.post("/api/kernels").json()
        with connect(address(server, kernel)) as line:
            talk = Talk(line)
            replies = [talk.run("1")[-1]["content"] for _ in range(6)]
    assert [one["status"] for one in replies] == ["ok"] * 4 + ["error"] * 2
    assert "6 requests a minute" in replies[-1]["evalue"]
    assert server.services.slots.of("default") == 0


@pytest.mark.slow
def test_a_connection_that_was_upgraded_stays_counted():
    settings = ServerSettings(connections_per_address=2, heartbeat_s=0.2, grace_s=1)
    with (
        serving(directory(TalkModel({})), config(server=settings)) as server,
        httpx2.Client(base_url=server.origin, headers=TOKEN, timeout=WAIT_S) as http,
    ):
        where = address(server, http.post("/api/kernels").json())
        with connect(where) as first:
            http.close()
            with connect(where) as second:
                # Neither waits for a request, so neither gives way.
                with pytest.raises(UNANSWERED), connect(where):
                    pass
                assert "42" in str(Talk(second).run("6 * 7"))
            assert "42" in str(Talk(first).run("6 * 7"))
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline:
                try:
                    with connect(where) as third:
                        assert "42" in str(Talk(third).run("6 * 7"))
                    break
                except UNANSWERED:
                    time.sleep(0.05)
            else:
                pytest.fail("the place of an ended socket was not given back")


@pytest.mark.slow
def test_a_server_that_stops_lets_sockets_go():
    with contextlib.ExitStack() as held:
        with serving(directory(TalkModel({}))) as server:
            where = f"{server.origin}/api/kernels?token={KEY}"
            line = held.enter_context(connect(address(server, httpx2.post(where).json())))
            assert "42" in str(Talk(line).run("6 * 7"))
        with pytest.raises(ConnectionClosed) as ended:
            Talk(line).until(lambda _one: False)
        assert ended.value.rcvd.code in (1001, 1012)
