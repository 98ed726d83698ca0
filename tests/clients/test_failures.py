"""What goes wrong behind the server: each the right status and body, and nothing left running."""

import json

import httpx2
import openai
import pytest
from scripted import CALLED, STOPPED, ScriptedModel, call, say, think
from serving import KEY, MODEL, config, directory, serving
from talking import ONE_CALL, on_loop

from runner.errors import ReplayMismatch, UpstreamError
from runner.models.openai_compatible import Endpoint, OpenAICompatible
from runner.models.replay import Replay
from sandbox import SessionLost

GENERATION = "/api/v1/services/aigc/text-generation/generation"
CODE = {"enable_code_interpreter": True, "enable_thinking": True}
MESSAGES = [{"role": "user", "content": ONE_CALL}]
AUTH = {"authorization": f"Bearer {KEY}"}
BODIES = {
    "/v1/responses": {
        "model": MODEL, "input": ONE_CALL, "stream": True, "tools": [{"type": "code_interpreter"}],
    },
    "/v1/chat/completions": {"model": MODEL, "messages": MESSAGES, "stream": True, **CODE},
    GENERATION: {"model": MODEL, "input": {"messages": MESSAGES}, "parameters": CODE},
}  # fmt: skip


def post(server, path, **changes):
    return httpx2.post(
        server.origin + path, json={**BODIES[path], **changes}, timeout=60,
        headers={**AUTH, "x-dashscope-sse": "enable"},
    )  # fmt: skip


def text_of_error(path, reply):
    body = reply.json()
    return body["message"] if path == GENERATION else body["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UpstreamError("down", "http://10.0.0.1:1"), 503,
         "The model's endpoint cannot be reached."),
        (UpstreamError("slow"), 504, "The model's endpoint sent nothing for too long."),
        (UpstreamError("refused", "key sk-secret"), 502,
         "The model's endpoint does not accept this server's credentials."),
        (UpstreamError("rejected", "context of 9 tokens is too long"), 400,
         "The model's endpoint rejected the request. context of 9 tokens is too long."),
        (UpstreamError("busy", retry_after_s=2), 429, "The model's endpoint is busy."),
        (ValueError("a bug with sk-secret"), 500, "The server failed to answer this request."),
    ],
)  # fmt: skip
def test_a_failure_before_the_first_byte_is_a_plain_answer(path, error, status, message):
    with serving(directory(ScriptedModel([error]))) as server:
        reply = post(server, path)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/json"
        assert text_of_error(path, reply) == message
        assert "secret" not in reply.text
        assert "10.0.0.1" not in reply.text
        server.wait_until(lambda: not server.services.streams.open)


@pytest.fixture(scope="module")
def cut():
    """A server whose model breaks after its first words."""
    with serving(directory(ScriptedModel([*think("hm"), UpstreamError("cut")]))) as server:
        yield server


def test_a_failure_in_a_responses_stream_is_its_last_event(cut):
    last = post(cut, "/v1/responses").text.strip().split("\n\n")[-1]
    assert last.startswith("event: response.failed\n")
    response = json.loads(last.partition("data: ")[2])["response"]
    assert response["status"] == "failed"
    assert response["error"]["code"] == "server_error"
    assert response["usage"]["x_tools"] == {"code_interpreter": {"count": 0}}


def test_a_failure_in_a_chat_stream_is_raised_by_the_client(cut):
    asking = openai.OpenAI(base_url=cut.origin + "/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.APIError, match="ended its answer in the middle"):
        list(
            asking.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, extra_body=CODE
            )
        )


def test_a_failure_in_a_dashscope_stream_is_an_error_frame(cut):
    frames = post(cut, GENERATION).text.strip().split("\n\n")
    assert frames[-1].split("\n")[:3] == ["id:2", "event:error", ":HTTP_STATUS/502"]


def test_a_dead_engine_is_503_and_not_to_be_retried_once_code_ran():
    talk = ScriptedModel([*think("hm"), *call("1+1"), CALLED], [*say("2"), STOPPED])
    with serving(directory(talk)) as server:

        async def dead():
            raise SessionLost("gone")

        server.services.box.session = dead
        body = {**BODIES["/v1/responses"], "stream": False}
        reply = httpx2.post(f"{server.origin}/v1/responses", json=body, headers=AUTH, timeout=60)
        assert reply.status_code == 503
        assert reply.json()["error"]["message"] == "The code sandbox is not available."
        assert reply.headers["x-should-retry"] == "false"


def test_a_replay_that_does_not_match_fails_loudly():
    with serving(directory(Replay([], name="empty.jsonl"))) as server:
        reply = post(server, "/v1/responses")
        assert reply.status_code == 500
        assert reply.json()["error"]["message"] == str(
            ReplayMismatch("empty.jsonl", "the recording is empty")
        )


def test_an_upstream_that_is_not_there_is_503():
    nobody = OpenAICompatible(Endpoint(url="http://127.0.0.1:9/v1", model="m", retries=0))
    with serving(directory(nobody)) as server:
        assert post(server, "/v1/chat/completions").status_code == 503


def test_a_stop_ends_open_streams_within_its_bound_and_says_so():
    talk = ScriptedModel([*think("hm"), *call("import time; time.sleep(600)"), CALLED])
    with serving(directory(talk), config()) as server:
        with httpx2.stream(
            "POST", f"{server.origin}/v1/responses", json=BODIES["/v1/responses"], headers=AUTH,
            timeout=60,
        ) as reply:  # fmt: skip
            lines = reply.iter_lines()
            assert any("interpreting" in line for line in lines)
            ready = httpx2.get(f"{server.origin}/readyz")
            assert ready.json() == {"status": "ready", "reasons": []}
            on_loop(server, server.services.streams.drain(0.2))
            rest = list(lines)
        assert any("event: response.failed" in line for line in rest)
        assert "The server is stopping." in "".join(rest)
        assert httpx2.get(f"{server.origin}/readyz").status_code == 503
        assert post(server, "/v1/chat/completions").status_code == 503
