"""Recorded answers of endpoints through every dialect: the same words, the same errors."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from serving import KEY, MODEL, directory, serving

from runner.models.openai_compatible import Endpoint, OpenAICompatible

FILES = sorted((Path(__file__).parents[1] / "unit" / "runner" / "streams").glob("*.stream"))
MESSAGES = [{"role": "user", "content": "What is 6 * 7?"}]
HEADERS = {"authorization": f"Bearer {KEY}"}
GENERATION = "/api/v1/services/aigc/text-generation/generation"


def recorded(path):
    head, _, body = path.read_bytes().partition(b"\n---\n")
    return json.loads(head)["expect"], body


ANSWERS = {path.stem: recorded(path) for path in FILES if not recorded(path)[0].get("calls")}


class Answering(httpx2.AsyncBaseTransport):
    """An endpoint that answers every request with `body`."""

    body = b""

    async def handle_async_request(self, _request):
        await asyncio.sleep(0)
        return httpx2.Response(200, content=self.body)


@pytest.fixture(scope="module")
def answering():
    return Answering()


@pytest.fixture(scope="module")
def server(answering):
    endpoint = Endpoint(url="http://upstream.test/v1", opens_thinking=None)
    with serving(directory(OpenAICompatible(endpoint, transport=answering))) as running:
        yield running


def responses(body):
    if body.get("error"):
        return None, body["error"]["message"]
    said = [item for item in body["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in said for part in item["content"]), ""


def chat(body):
    if body.get("error"):
        return None, body["error"]["message"]
    return body["choices"][0]["message"]["content"], ""


def dashscope(body):
    if "output" not in body:
        return None, body["message"]
    return body["output"]["choices"][0]["message"]["content"], ""


DIALECTS = {
    "/v1/responses": ({"model": MODEL, "input": "What is 6 * 7?"}, responses),
    "/v1/chat/completions": ({"model": MODEL, "messages": MESSAGES}, chat),
    GENERATION: ({"model": MODEL, "input": {"messages": MESSAGES},
                  "parameters": {"result_format": "message"}}, dashscope),
}  # fmt: skip


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("name", ANSWERS)
def test_each_dialect_gives_the_answer_or_its_own_error(server, answering, path, name):
    wanted, answering.body = ANSWERS[name]
    asked, read = DIALECTS[path]
    reply = httpx2.post(server.origin + path, json=asked, headers=HEADERS, timeout=60)
    text, words = read(reply.json())
    if "fault" in wanted:
        assert reply.status_code >= 400
        assert wanted["words"] in words
    else:
        assert (reply.status_code, (text or "").strip()) == (200, wanted["text"].strip())
