"""What the server writes about a request: facts with an id, and content only when asked for."""

import json
import logging
import socket

import httpx2
import pytest
from scripted import CALLED, STOPPED, ScriptedModel, call, say
from serving import KEY, MODEL, config, directory, serving

from runner.config import ServerSettings
from runner.models.replay import Replay
from runner.server.http.logs import LOG, JsonLines, trace_of

SECRET = "a secret question"
CODE, PRINTED, ANSWER = "x = 'secret code'; x", "'secret code'", "a secret answer"
BODY = {
    "model": MODEL, "stream": True, "enable_code_interpreter": True, "enable_thinking": True,
    "messages": [{"role": "user", "content": SECRET}],
}  # fmt: skip
TALK = ([*call(CODE), CALLED], [*say(ANSWER), STOPPED])


class Lines(logging.Handler):
    """All records of every logger, as the lines that would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def events(self, kind: str) -> list[dict]:
        lines = [json.loads(text) for text in self.texts]
        return [line for line in lines if line["event"] == kind]


@pytest.fixture
def lines():
    handler, root = Lines(), logging.getLogger()
    level = LOG.level
    LOG.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    LOG.setLevel(level)


def ask(server, **changes):
    return httpx2.post(
        f"{server.origin}/v1/chat/completions", json={**BODY, **changes}, timeout=60,
        headers={"authorization": f"Bearer {KEY}"},
    )  # fmt: skip


def test_a_request_is_one_line_of_facts_without_a_word_of_what_was_said(lines):
    with serving(directory(ScriptedModel(*TALK))) as server:
        reply = ask(server)
        server.wait_until(lambda: lines.events("request"))
    (line,) = lines.events("request")
    assert line.pop("time")
    assert line.pop("took_ms") > 0
    assert line == {
        "event": "request", "id": reply.headers["x-request-id"], "level": "info",
        "method": "POST", "owner": "default", "route": "/v1/chat/completions", "status": 200,
    }  # fmt: skip
    assert "secret" not in "".join(lines.texts)
    assert KEY not in "".join(lines.texts)


def test_content_is_written_only_for_an_owner_who_asks_for_it(lines):
    asked_for = config(server=ServerSettings(log_content=True))
    with serving(directory(ScriptedModel(*TALK)), asked_for) as server:
        reply = ask(server)
        server.wait_until(lambda: lines.events("request"))
    told = lines.events("content")
    assert {line["id"] for line in told} == {reply.headers["x-request-id"]}
    assert [(line["what"], line["text"]) for line in told] == [
        ("question", SECRET), ("call", json.dumps({"code": CODE})), ("result", PRINTED),
        ("answer", ANSWER),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "status", "level"),
    [
        (ScriptedModel([ValueError("a bug about a secret")]), 500, "error"),
        (Replay([], name="empty.jsonl"), 500, "warning"),
    ],
)
def test_a_failure_is_logged_once_and_quotes_nothing(lines, model, status, level):
    with serving(directory(model)) as server:
        reply = ask(server)
        assert reply.status_code == status
        server.wait_until(lambda: lines.events("request"))
    (failure,) = [line for line in map(json.loads, lines.texts) if line["level"] != "info"]
    assert (failure["event"], failure["level"]) == ("failure", level)
    assert failure["id"] == reply.headers["x-request-id"]
    assert "secret" not in "".join(lines.texts)


def test_a_clients_mistake_is_a_fact_of_its_request_and_no_failure(lines):
    with serving(directory(ScriptedModel())) as server:
        assert ask(server, messages=[]).status_code == 400
        server.wait_until(lambda: lines.events("request"))
    (line,) = lines.events("request")
    assert (line["status"], line["fault"]) == (400, "invalid")
    assert lines.events("failure") == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/run_code"])
def test_a_client_that_leaves_in_its_own_body_is_no_failure(lines, path):
    with serving(directory(ScriptedModel())) as server:
        host, port = server.origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
            kind = "content-type: application/json\r\ncontent-length: 99\r\n\r\n{"
            connection.sendall(f"{head}{kind}".encode())
        server.wait_until(lambda: lines.events("request"))
    (line,) = lines.events("request")
    assert line["status"] == 499
    assert lines.events("failure") == []


def test_a_bug_outside_of_a_stream_is_answered_and_logged_once(lines):
    with serving(directory(ScriptedModel())) as server:

        def broken():
            raise ValueError("a bug about a secret")

        server.services.metrics.text = broken
        reply = httpx2.get(f"{server.origin}/metrics")
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "The server failed to answer this request."
    (failure,) = lines.events("failure")
    assert failure["trace"][0] == "ValueError"
    assert failure["trace"][-1].endswith(" broken")
    assert "secret" not in "".join(lines.texts)


def test_a_line_cannot_be_imitated_by_text():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "a\n{\u2028\x1b[31m}\x85", None, None)
    text = JsonLines().format(record)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["message"] == "a\n{\u2028\x1b[31m}\x85"


def test_a_trace_names_types_and_places_of_the_whole_chain():
    def inner():
        raise KeyError("secret")

    def outer():
        try:
            inner()
        except KeyError as error:
            raise ValueError("secret") from error

    with pytest.raises(ValueError, match="secret") as caught:
        outer()
    trace = trace_of(caught.value)
    assert [line for line in trace if ":" not in line] == ["ValueError", "KeyError"]
    assert "secret" not in "".join(trace)
