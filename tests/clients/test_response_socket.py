"""The WebSocket of the Responses API: with the official client, and message by message."""

import contextlib
import json
import socket as plain_socket
import threading
import time

import httpx2
import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, TalkModel, config, directory, serving
from talking import ONE_CALL, POWER, SLOW, STATE_1, STATE_2, TALKS
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import connect

from runner.config import KeySettings, ServerSettings
from runner.server.websockets import FRAMES_MOST, MESSAGE_BYTES

TOOLS = [{"type": "code_interpreter", "container": {"type": "auto"}}]
END = ("response.completed", "response.failed", "response.incomplete", "error")
HEADERS = {"authorization": f"Bearer {KEY}"}
SHUT = (ConnectionClosed, InvalidMessage, EOFError, OSError)
"""How a connection looks to its client that the server had no room for."""


@pytest.fixture(scope="module")
def server():
    with serving(directory(TalkModel(TALKS))) as running:
        yield running


@pytest.fixture
def socket(server):
    url = server.origin.replace("http", "ws") + "/v1/responses"
    with connect(url, additional_headers=HEADERS, open_timeout=30) as opened:
        yield opened


def send(socket, text=None, **fields):
    body = {"type": "response.create", "model": MODEL, **fields}
    socket.send(json.dumps(body) if text is None else text)


def events(socket):
    """The events up to the end of one response."""
    found = []
    while not found or found[-1]["type"] not in END:
        found.append(json.loads(socket.recv(timeout=60)))
    return found


def ask(socket, text=None, **fields):
    """The last event of the answer to one message."""
    send(socket, text, **fields)
    return events(socket)[-1]


def text_of(event):
    output = event["response"]["output"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_the_official_client_asks_twice_on_one_connection(server):
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
    with client.responses.connect() as connection:
        for _ in range(2):
            connection.response.create(model=MODEL, input=ONE_CALL, tools=TOOLS)
            deltas = []
            for event in connection:
                if event.type == "response.output_text.delta":
                    deltas.append(event.delta)
                if event.type == "response.completed":
                    break
            assert POWER in "".join(deltas)
            assert event.response.output_text == "".join(deltas)
    stored = client.responses.retrieve(event.response.id)
    assert stored.output_text == event.response.output_text


def test_the_events_are_those_of_a_stream(server, socket):
    send(socket, input=ONE_CALL, tools=TOOLS)
    found = events(socket)
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
    streamed = list(client.responses.create(model=MODEL, input=ONE_CALL, tools=TOOLS, stream=True))
    assert [one["type"] for one in found] == [one.type for one in streamed]
    assert [one["sequence_number"] for one in found] == list(range(len(found)))


@pytest.mark.parametrize("store", [True, False])
def test_a_response_goes_on_from_the_one_before_stored_or_not(server, socket, store):
    first = ask(socket, input=STATE_1, tools=TOOLS, store=store)["response"]
    second = ask(socket, input=STATE_2, tools=TOOLS, store=store, previous_response_id=first["id"])[
        "response"
    ]
    containers = {
        item["container_id"]
        for one in (first, second)
        for item in one["output"]
        if item["type"] == "code_interpreter_call"
    }
    assert len(containers) == 1
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
    if store:
        assert client.responses.retrieve(first["id"]).id == first["id"]
    else:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first["id"])


def test_a_request_that_generates_nothing_is_gone_on_from(server, socket):
    kept = ask(socket, input=STATE_1, generate=False)
    assert (kept["type"], kept["response"]["output"]) == ("response.completed", [])
    after = ask(socket, input=ONE_CALL, previous_response_id=kept["response"]["id"])
    assert POWER in text_of(after)


def test_streams_of_one_connection_are_told_apart(socket):
    for stream_id in ("a", "b"):
        send(socket, input=ONE_CALL, tools=TOOLS, stream_id=stream_id)
    ended = {}
    while len(ended) < 2:
        event = json.loads(socket.recv(timeout=60))
        if event["type"] in END:
            ended[event["stream_id"]] = event
    assert set(ended) == {"a", "b"}
    assert all(POWER in text_of(event) for event in ended.values())


@pytest.mark.parametrize(
    ("text", "fields", "status", "param"),
    [
        ("{", {}, 400, None),
        ("[]", {}, 400, ""),
        ('{"type": "response.steer"}', {}, 400, "type"),
        ('{"type": "session.update"}', {}, 400, "type"),
        (None, {"input": "x", "background": True}, 400, "background"),
        (None, {"input": "x", "stream": False}, 400, "stream"),
        (None, {"input": "x", "temperature": "hot"}, 400, "temperature"),
        (None, {"input": "x", "previous_response_id": "resp_none"}, 400, "previous_response_id"),
        (None, {"input": "x", "model": "unknown"}, 404, "model"),
        (None, {}, 400, "input"),
    ],
)
def test_what_is_wrong_is_an_error_and_the_connection_goes_on(socket, text, fields, status, param):
    error = ask(socket, text, **fields)
    assert (error["type"], error["status"]) == ("error", status)
    assert (error["error"]["param"] or "") == (param or "")
    assert POWER in text_of(ask(socket, input=ONE_CALL, tools=TOOLS))


def test_an_unknown_previous_response_has_openais_code(socket):
    error = ask(socket, input="x", previous_response_id="resp_none")
    assert error["error"]["code"] == "previous_response_not_found"


def test_a_client_that_leaves_ends_its_snippet(server, socket):
    send(socket, input=SLOW, tools=TOOLS)
    while (
        json.loads(socket.recv(timeout=60))["type"] != "response.code_interpreter_call.interpreting"
    ):
        pass
    account = server.services.accounts.find(HEADERS["authorization"])
    assert account.open_requests == 1
    socket.close()
    server.wait_until(lambda: account.open_requests == 0)
    server.wait_until(lambda: not server.services.streams.open)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"cookie": "cellblock_0=x"}, 401),
        ({**HEADERS, "origin": "https://evil.example"}, 403),
        ({**HEADERS, "host": "evil.example"}, 403),
    ],
)
def test_a_door_without_a_key_or_from_elsewhere_stays_shut(server, headers, status):
    url = server.origin.replace("http", "ws") + "/v1/responses"
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers):
        pass
    assert caught.value.response.status_code == status
    assert b'"error"' in caught.value.response.body


def test_a_message_counts_against_the_rate_of_its_key():
    key = KeySettings(key=KEY, requests_per_minute=3)
    settings = config(keys=(key,))
    with serving(directory(TalkModel(TALKS)), settings) as running:
        url = running.origin.replace("http", "ws") + "/v1/responses"
        with connect(url, additional_headers=HEADERS) as socket:
            found = [ask(socket, input=ONE_CALL) for _ in range(3)]
    assert [one["type"] for one in found] == ["response.completed"] * 2 + ["error"]
    assert found[-1]["status"] == 429


def test_a_message_longer_than_any_may_be_ends_the_connection(socket):
    with contextlib.suppress(ConnectionClosed):
        socket.send("x" * (MESSAGE_BYTES + 1))
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=30)


def test_a_server_that_stops_closes_what_is_quiet():
    with contextlib.ExitStack() as held:
        with serving(directory(TalkModel(TALKS))) as running:
            url = running.origin.replace("http", "ws") + "/v1/responses"
            socket = held.enter_context(connect(url, additional_headers=HEADERS))
            assert POWER in text_of(ask(socket, input=ONE_CALL))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)
        assert socket.close_code == 1012


def test_sockets_count_as_connections_of_their_address():
    server_settings = ServerSettings(heartbeat_s=0.2, grace_s=1, connections_per_address=2)
    with serving(directory(TalkModel(TALKS)), config(server=server_settings)) as running:
        url = running.origin.replace("http", "ws") + "/v1/responses"
        with contextlib.ExitStack() as held:
            for _ in range(2):
                held.enter_context(connect(url, additional_headers=HEADERS))
            with pytest.raises(SHUT), connect(url, additional_headers=HEADERS):
                pass

        def is_let_in():
            with (
                contextlib.suppress(*SHUT),
                connect(url, additional_headers=HEADERS) as again,
            ):
                return POWER in text_of(ask(again, input=ONE_CALL))
            return False

        running.wait_until(is_let_in)


FLOODS = {
    "fragments without content": b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 300_000,
    "small messages": (b"\x81\x82" + bytes(4) + b"{}") * 100_000,
    "pings": (b"\x89\xfd" + bytes(4) + b"x" * 125) * 50_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_leaves_the_loop_to_the_others(server, name):
    port = int(server.origin.rpartition(":")[2])
    head = (
        "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
        "connection: upgrade\r\nsec-websocket-version: 13\r\n"
        f"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {KEY}\r\n\r\n"
    )
    longest = 0.0
    asked = threading.Event()

    def flood(opened):
        with contextlib.suppress(OSError):  # It is ended, or nothing more is read of it.
            opened.sendall(FLOODS[name])
        asked.wait(30)

    with plain_socket.create_connection(("127.0.0.1", port), timeout=5) as opened:
        opened.sendall(head.encode())
        assert b" 101 " in opened.recv(4096)
        thread = threading.Thread(target=flood, args=(opened,))
        thread.start()
        try:
            for _ in range(20):
                began = time.monotonic()
                assert httpx2.get(f"{server.origin}/healthz", timeout=30).status_code == 200
                longest = max(longest, time.monotonic() - began)
        finally:
            asked.set()
            thread.join()
    assert longest < 2


def test_a_message_in_very_many_frames_is_refused(server):
    url = server.origin.replace("http", "ws") + "/v1/responses"
    with connect(url, additional_headers=HEADERS, open_timeout=30) as opened:
        with contextlib.suppress(ConnectionClosed):
            opened.send("" for _ in range(FRAMES_MOST * 20))
        with pytest.raises(ConnectionClosed) as ended:
            opened.recv(timeout=30)
        assert ended.value.rcvd is None or ended.value.rcvd.code == 1009
