"""`POST /responses/compact`: a conversation as its questions and one item for the rest."""

import json

import httpx2
import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, directory, serving

from runner.models.openai_compatible import Endpoint, OpenAICompatible

CODE = [{"type": "code_interpreter"}]
SEEN: list[object] = []


def answer(request):
    """Runs `x = 41`, tells what it was asked last, and sums up when it is told to."""
    messages = json.loads(request.content)["messages"]
    SEEN.append(messages)
    last = messages[-1]["content"]
    code = {"Set x.": "x = 41", "Add one.": "print(x + 1)"}.get(str(last))
    delta, finish = {"content": f"So: {last}"}, "stop"
    if code is not None:
        function = {"name": "code_interpreter", "arguments": json.dumps({"code": code})}
        delta, finish = {"tool_calls": [{"index": 0, "function": function}]}, "tool_calls"
    elif isinstance(last, str) and last.startswith("Summarize"):
        delta = {"content": "x was set to 41."}
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}  # fmt: skip
    return httpx2.Response(200, text=f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n")


@pytest.fixture(scope="module")
def ask():
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    with serving(directory(model)) as running:
        base = running.origin + "/v1"
        yield OpenAI(base_url=base, api_key=KEY, max_retries=0).responses


@pytest.mark.parametrize("how", ["previous", "replayed"])
def test_a_conversation_goes_on_from_its_summary_in_the_same_container(ask, how):
    first = ask.create(model=MODEL, input="Set x.", tools=CODE)
    if how == "previous":
        small = ask.compact(model=MODEL, previous_response_id=first.id)
    else:
        small = ask.compact(
            model=MODEL, input=[{"role": "user", "content": "Set x."}, *first.output]
        )
    assert small.object == "response.compaction"
    assert [item.type for item in small.output] == ["message", "compaction"]
    assert small.output[0].content[0].text == "Set x."
    assert small.usage.output_tokens == 3
    items = [item.to_dict() for item in small.output]
    last = ask.create(
        model=MODEL, input=[*items, {"role": "user", "content": "Add one."}], tools=CODE
    )
    assert last.output_text == "So: 42"
    assert last.output[0].container_id == first.output[0].container_id
    assert "x was set to 41." in SEEN[-1][0]["content"]
    assert [one["role"] for one in SEEN[-2]] == ["system", "user", "user"]


def test_pictures_of_the_user_stay_with_his_words(ask):
    url = "data:image/png;base64,AAAA"
    content = [{"type": "input_image", "image_url": url, "detail": "low"},
               {"type": "input_text", "text": "Look."}]  # fmt: skip
    small = ask.compact(model=MODEL, input=[{"role": "user", "content": content}])
    found = [part.to_dict() for part in small.output[0].content]
    assert found == content
    assert SEEN[-1][0]["content"][0]["image_url"] == {"url": url, "detail": "low"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "compaction", "encrypted_content": "e30="}]},
         "input[0].encrypted_content"),
        ({"input": [{"type": "compaction", "encrypted_content": "\u00e9"}]},
         "input[0].encrypted_content"),
        ({"previous_response_id": "resp_unknown"}, "previous_response_id"),
        ({"input": "x", "image": {"context_compression": "enabled"}}, "image"),
    ],
)  # fmt: skip
def test_what_cannot_be_compacted_is_refused_by_name(ask, body, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask.compact(model=MODEL, **body)
    assert caught.value.param == param
