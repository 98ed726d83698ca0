"""Upstreams on loopback that break in every way: what clients get, what is logged, what is left."""

import asyncio
import json
import logging
import threading

import httpx2
import pytest
from serving import KEY, MODEL, config, directory, serving

from runner.config import ServerSettings
from runner.models.openai_compatible import Endpoint, OpenAICompatible

GENERATION = "/api/v1/services/aigc/text-generation/generation"
MESSAGES = [{"role": "user", "content": "Hello?"}]
BODIES = {
    "/v1/responses": {"model": MODEL, "input": "Hello?", "stream": True},
    "/v1/chat/completions": {"model": MODEL, "messages": MESSAGES, "stream": True},
    GENERATION: {"model": MODEL, "input": {"messages": MESSAGES}},
}
HEADERS = {"authorization": f"Bearer {KEY}", "x-dashscope-sse": "enable"}
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
WORD = {"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]}
FIRST = f"data: {json.dumps(WORD)}\n\n".encode()


def page(status: str, body: bytes, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Upstream:
    """Sends `answer` to every request, then hangs up, or waits until the other side does."""

    def __init__(self) -> None:
        self.answer = b""
        self.waits = False
        self.open = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_details):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = self._loop.run_until_complete(listening)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader, writer) -> None:
        self.open += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            writer.write(self.answer)
            await writer.drain()
            if self.waits:
                await reader.read()
        finally:
            writer.close()
            self.open -= 1


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream):
    endpoint = Endpoint(url=f"http://127.0.0.1:{upstream.port}/v1", read_s=0.5, retries=0)
    # No heartbeat before the upstream's silence is over: it would begin the stream.
    settings = config(server=ServerSettings(grace_s=1))
    with serving(directory(OpenAICompatible(endpoint)), settings) as running:
        yield running


def failures(caplog):
    return [record.facts for record in caplog.records if record.message == "failure"]


BEFORE = {  # how it breaks: answer, whether it waits then, status, fault
    "hangs up": (b"", False, 503, "upstream_down"),
    "is silent": (b"", True, 504, "upstream_slow"),
    "speaks no HTTP": (b"garbage\r\n\r\n", False, 503, "upstream_down"),
    "sends a page": (page("200 OK", b"<html>", "content-type: text/html"), False, 502,
                     "upstream_garbled"),
    "sends no JSON": (STREAM + b"data: {oh\n\n", False, 502, "upstream_garbled"),
    "sends a number": (STREAM + b"data: 7\n\n", False, 502, "upstream_garbled"),
    "sends odd choices": (STREAM + b'data: {"choices": 7}\n\n', False, 502, "upstream_garbled"),
    "sends nothing": (STREAM, False, 502, "upstream_garbled"),
    "fails": (page("500 No", b"oops"), False, 502, "upstream_failed"),
    "fails in the stream": (STREAM + b'data: {"error": {"message": "oops"}}\n\n', False, 502,
                            "upstream_failed"),
    "is away": (page("503 No", b""), False, 503, "upstream_down"),
    "is busy": (page("429 No", b"", "retry-after: 7"), False, 429, "upstream_busy"),
    "wants another key": (page("401 No", b'{"error": {"message": "key sk-secret"}}'), False, 502,
                          "upstream_refused"),
    "rejects": (page("400 No", b'{"error": {"message": "too long"}}',
                     "content-type: application/json"), False, 400, "upstream_rejected"),
}  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("how", BEFORE)
def test_an_upstream_that_breaks_before_its_first_word_is_a_plain_answer(
    server, upstream, caplog, path, how
):
    upstream.answer, upstream.waits, status, fault = BEFORE[how]
    with caplog.at_level(logging.INFO, "cellblock.server"):
        reply = httpx2.post(server.origin + path, json=BODIES[path], headers=HEADERS, timeout=60)
        server.wait_until(lambda: not upstream.open and not server.services.streams.open)
    assert reply.status_code == status
    body = reply.json()
    if path == GENERATION:
        assert set(body) == {"code", "message", "request_id"}
    else:
        assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "secret" not in reply.text
    assert reply.headers.get("retry-after") == ("7" if how == "is busy" else None)
    assert [one["fault"] for one in failures(caplog)] == [fault]


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "This model's maximum context length is 8 tokens", "code": 400}},
        {"error": {"message": "Too much.", "code": "context_length_exceeded"}},
        {"error": {"message": "the request exceeds the available context size (4096 tokens)"}},
        {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
def test_a_conversation_that_is_too_long_has_the_code_that_clients_look_for(
    server, upstream, path, said
):
    upstream.answer = page("400 No", json.dumps(said).encode(), "content-type: application/json")
    reply = httpx2.post(server.origin + path, json=BODIES[path], headers=HEADERS, timeout=60)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


AFTER = {
    "hangs up": (b"", False, "ended its answer in the middle", 502),
    "falls silent": (b"", True, "sent nothing for too long", 504),
    "sends no JSON": (b"data: {oh\n\n", False, "something that is no answer", 502),
    "fails": (b'data: {"error": {"message": "oops"}}\n\n', False, "endpoint failed", 502),
    "is busy": (b'data: {"error": {"code": 429, "message": "slow"}}\n\n', False, "is busy", 429),
    "rejects": (b'data: {"error": {"code": 400, "message": "too long"}}\n\n', False, "too long",
                400),
    "is overloaded": (b'data: {"error": {"type": "overloaded_error", "message": "full"}}\n\n',
                      False, "full", 503),
    "is late": (b'data: {"error": {"code": 504, "message": "no time"}}\n\n', False, "no time", 504),
}  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("how", AFTER)
def test_an_upstream_that_breaks_after_its_first_word_ends_the_stream_with_an_error(
    server, upstream, caplog, path, how
):
    more, upstream.waits, words, status = AFTER[how]
    upstream.answer = STREAM + FIRST + more
    with caplog.at_level(logging.INFO, "cellblock.server"):
        reply = httpx2.post(server.origin + path, json=BODIES[path], headers=HEADERS, timeout=60)
        server.wait_until(lambda: not upstream.open and not server.services.streams.open)
    assert reply.status_code == 200
    last = reply.text.strip().split("\n\n")[-1]
    assert words in last
    if path == GENERATION:
        assert last.split("\n")[1:3] == ["event:error", f":HTTP_STATUS/{status}"]
    elif path == "/v1/responses":
        assert last.startswith("event: response.failed\n")
    else:
        assert set(json.loads(last.removeprefix("data: "))) == {"error"}
    assert len(failures(caplog)) == 1


@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_leaves_ends_the_upstreams_stream(server, upstream, path):
    upstream.answer, upstream.waits = STREAM + FIRST, True
    with httpx2.stream(
        "POST", server.origin + path, json=BODIES[path], headers=HEADERS, timeout=60
    ) as reply:
        assert any("Hel" in line for line in reply.iter_lines())
    server.wait_until(lambda: not upstream.open and not server.services.streams.open)
