"""curl, as the documentation of the dialects shows it, and requests that no client would send."""

import json
import subprocess

import pytest
from serving import KEY, MODEL, TalkModel, config, directory, serving
from talking import ONE_CALL, POWER, SLOW, TALKS

from runner.config import KeySettings

GENERATION = "/api/v1/services/aigc/text-generation/generation"
MESSAGES = [{"role": "user", "content": ONE_CALL}]
CODE = {"enable_code_interpreter": True, "enable_thinking": True}


def curl(server, path, body, *more, key=KEY):
    """(status, headers, body) of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    done = subprocess.run(
        ["curl", "-sS", "-N", "-i", "-X", "POST", server.origin + path,
         "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json",
         "-H", "Expect:", *more, "--data-binary", "@-"],
        input=data, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    head, _, rest = done.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, rest.decode()


def test_a_whole_response(server):
    body = {"model": MODEL, "input": ONE_CALL, "tools": [{"type": "code_interpreter"}], **CODE}
    status, headers, text = curl(server, "/compatible-mode/v1/responses", body)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert headers["x-request-id"]
    assert json.loads(text)["output"][-1]["content"][0]["text"].endswith(f"{POWER}.")


def test_a_chat_stream_ends_with_done(server):
    body = {"model": MODEL, "messages": MESSAGES, "stream": True, **CODE}
    status, headers, text = curl(server, "/compatible-mode/v1/chat/completions", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["cache-control"] == "no-cache"
    frames = text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    assert all(frame.startswith("data: ") for frame in frames[:-1])


def test_dashscope_frames_are_numbered_and_end_without_done(server):
    body = {"model": MODEL, "input": {"messages": MESSAGES}, "parameters": CODE}
    for switch in ("X-DashScope-SSE: enable", "Accept: text/event-stream"):
        status, headers, text = curl(server, GENERATION, body, "-H", switch)
        assert (status, headers["content-type"]) == (200, "text/event-stream;charset=utf-8")
        frames = text.split("\n\n")[:-1]
        assert [frame.split("\n")[0] for frame in frames] == [
            f"id:{number}" for number in range(1, len(frames) + 1)
        ]
        last = json.loads(frames[-1].partition("data:")[2])
        assert last["request_id"] == headers["x-request-id"]


DEEP = b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"a": NaN}', DEEP])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", GENERATION])
def test_a_body_that_is_no_request_is_400_in_the_words_of_its_dialect(server, path, body):
    status, headers, text = curl(server, path, body)
    assert (status, headers["content-type"]) == (400, "application/json")
    answer = json.loads(text)
    if path == GENERATION:
        assert answer["code"] == "InvalidParameter"
        assert answer["request_id"] == headers["x-request-id"]
    else:
        assert answer["error"]["type"] == "invalid_request_error"


def test_a_huge_body_is_413(server):
    status, _, text = curl(server, "/v1/responses", b" " * (65 * 1024 * 1024))
    assert status == 413
    assert json.loads(text)["error"]["code"] == "request_too_large"


def test_an_unknown_path_and_a_wrong_method_are_said_to_be_so(server):
    status, _, text = curl(server, "/v1/nothing", {})
    assert (status, json.loads(text)["error"]["type"]) == (404, "invalid_request_error")
    status, headers, _ = curl(server, "/v1/models", {})
    assert (status, headers["allow"]) == (405, "get")


def test_the_key_is_asked_for_before_the_body_is_read(server):
    status, _, text = curl(server, "/v1/responses", b"{", key="sk-wrong")
    assert (status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key")


def test_a_key_that_asks_too_often_is_told_when_to_come_again():
    keys = (KeySettings(key=KEY, requests_per_minute=2),)
    with serving(directory(TalkModel(TALKS)), config(keys=keys)) as server:
        body = {"model": MODEL, "messages": MESSAGES, "stream": True, **CODE}
        replies = [curl(server, "/v1/chat/completions", body) for _ in range(3)]
        assert [status for status, _, _ in replies] == [200, 200, 429]
        remaining = [headers.get("x-ratelimit-remaining-requests") for _, headers, _ in replies]
        assert remaining == ["1", "0", None]
        _, headers, text = replies[2]
        assert 1 <= int(headers["retry-after"]) <= 30
        assert json.loads(text)["error"]["code"] == "limit_requests"
        status, _, text = curl(server, GENERATION, {})
        assert (status, json.loads(text)["code"]) == (429, "Throttling.RateQuota")


def test_a_key_with_too_many_open_requests_is_refused_one_more():
    keys = (KeySettings(key=KEY, concurrent_requests=1),)
    with serving(directory(TalkModel(TALKS)), config(keys=keys)) as server:
        slow = {"model": MODEL, "input": SLOW, "background": True,
                "tools": [{"type": "code_interpreter"}]}  # fmt: skip
        assert curl(server, "/v1/responses", slow)[0] == 200
        body = {"model": MODEL, "messages": MESSAGES, "stream": True, **CODE}
        status, headers, text = curl(server, "/v1/chat/completions", body)
        assert (status, headers["retry-after"]) == (429, "1")
        assert "1 requests open at once" in json.loads(text)["error"]["message"]
