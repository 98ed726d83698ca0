"""Open Responses: each request that its public tests make, and what they check of the answer.

Every body and every event is held against `open_responses.py`.
"""

import json
from collections.abc import Mapping

import httpx2
import pytest
from open_responses import COMPACTED, ERROR, EVENT, RESPONSE, problems
from serving import KEY, MODEL, directory, serving

from runner.models.openai_compatible import Endpoint, OpenAICompatible

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk"
    "YAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a place",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


def user(content: object) -> dict[str, object]:
    return {"type": "message", "role": "user", "content": content}


TEXTS: Mapping[str, dict[str, object]] = {
    "a question": {"input": [user("Say hello in three words.")]},
    "a question that is no list": {"input": "Say hello."},
    "a system message": {
        "input": [
            {"type": "message", "role": "system", "content": "Speak as a pirate."},
            user("Say hello."),
        ]
    },
    "a developer message": {
        "input": [{"type": "message", "role": "developer", "content": "Be short."}, user("Hello.")]
    },
    "instructions": {"input": "Hello.", "instructions": "Be short."},
    "a picture": {
        "input": [
            user(
                [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": PIXEL},
                ]
            )
        ]
    },
    "several turns": {
        "input": [
            user("My name is Alice."),
            {"type": "message", "role": "assistant", "content": "Hello Alice!"},
            user("What is my name?"),
        ]
    },
    "all that is repeated": {
        "input": "Hello.",
        "temperature": 0,
        "top_p": 0.5,
        "presence_penalty": -1,
        "frequency_penalty": 1.5,
        "safety_identifier": "someone",
        "prompt_cache_key": "some-key",
        "max_output_tokens": 64,
        "metadata": {"a": "b"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    },
    "nulls for all that may be null": {
        "input": "Hello.",
        **dict.fromkeys(
            ("temperature", "top_p", "presence_penalty", "frequency_penalty", "tools", "text",
             "safety_identifier", "prompt_cache_key", "metadata", "max_output_tokens",
             "max_tool_calls", "reasoning", "instructions", "previous_response_id",
             "parallel_tool_calls", "tool_choice", "top_logprobs", "stream_options"),
        ),
    },
    "a function and its result": {
        "tools": [WEATHER],
        "input": [
            user("What is the weather in Paris?"),
            {"type": "function_call", "call_id": "call_1", "name": "get_weather",
             "arguments": '{"location":"Paris"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"},
        ],
    },
}  # fmt: skip


def upstream(request):
    """A model that calls a function which is offered and has no result yet, and else answers."""
    body = json.loads(request.content)
    answered = body["messages"][-1]["role"] == "tool"
    wants_call = bool(body.get("tools")) and body.get("tool_choice") != "none" and not answered
    parts: list[dict[str, object]] = [{"content": "Hello "}, {"content": "there."}]
    if wants_call:
        parts = [
            {"tool_calls": [{"index": 0, "id": "call_9", "type": "function",
                             "function": {"name": "get_weather", "arguments": '{"location":'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '"San Francisco"}'}}]},
        ]  # fmt: skip
    chunks = [{"choices": [{"index": 0, "delta": part}]} for part in parts]
    finish = "tool_calls" if wants_call else "stop"
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return httpx2.Response(200, text="".join([*lines, "data: [DONE]\n\n"]))


@pytest.fixture(scope="module")
def client():
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(upstream))
    with serving(directory(model)) as running:
        key = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=f"{running.origin}/v1", headers=key, timeout=60) as made:
            yield made


def create(client, **body) -> dict:
    reply = client.post("/responses", json={"model": MODEL, **body})
    assert reply.status_code == 200, reply.text
    assert problems(RESPONSE, reply.json()) == []
    return reply.json()


def stream(client, **body) -> list[dict]:
    """Return the events, each with its own name in its frame."""
    reply = client.post("/responses", json={"model": MODEL, "stream": True, **body})
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = []
    for frame in reply.text.strip().split("\n\n"):
        name, _, data = frame.partition("\n")
        if data:
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            events.append(event)
    assert [(event["type"], problems(EVENT, event)) for event in events] == [
        (event["type"], []) for event in events
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS.keys())
def test_an_answer_is_whole_and_every_field_of_it_as_promised(client, body):
    found = create(client, **body)
    assert found["status"] == "completed"
    assert found["output"][-1]["content"][0]["text"] == "Hello there."


@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS.keys())
def test_each_event_of_a_stream_is_as_promised(client, body):
    events = stream(client, **body)
    assert events[-1]["type"] == "response.completed"
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "Hello there."


def test_what_was_asked_for_is_repeated(client):
    found = create(client, **TEXTS["all that is repeated"])
    for name in (
        *("temperature", "top_p", "presence_penalty", "frequency_penalty", "safety_identifier"),
        *("prompt_cache_key", "max_output_tokens", "metadata"),
    ):
        assert found[name] == TEXTS["all that is repeated"][name], name
    assert found["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}
    ]
    assert found["text"]["format"]["strict"] is False


def test_a_function_of_the_client_is_called(client):
    found = create(client, input=[user("What is the weather in San Francisco?")], tools=[WEATHER])
    assert [item["type"] for item in found["output"]] == ["function_call"]
    assert json.loads(found["output"][0]["arguments"]) == {"location": "San Francisco"}


def test_a_call_in_a_stream_begins_grows_and_ends(client):
    events = stream(client, input="What is the weather?", tools=[WEATHER])
    of_call = [
        event["type"]
        for event in events
        if event.get("item", {}).get("type") == "function_call" or "arguments" in event["type"]
    ]
    assert of_call == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def test_a_response_goes_on_from_the_one_before(client):
    first = create(client, input="My name is Alice.")
    second = create(client, input="What is my name?", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]


def test_a_call_is_answered_by_the_response_that_follows(client):
    first = create(client, input="What is the weather?", tools=[WEATHER])
    call = first["output"][0]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees"}
    second = create(client, input=[output], previous_response_id=first["id"], tools=[WEATHER])
    assert second["output"][-1]["content"][0]["text"] == "Hello there."


def test_a_stored_response_is_the_one_that_was_given(client):
    found = create(client, input="Hello.")
    assert client.get(f"/responses/{found['id']}").json() == found


def test_a_file_of_the_input_is_taken(client):
    part = {
        "type": "input_file",
        "filename": "a.txt",
        "file_data": "data:text/plain;base64,aGVsbG8=",
    }
    text = {"type": "input_text", "text": "What is in it?"}
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    reply = client.post(
        "/responses", json={"model": MODEL, "input": [user([text, part])], "tools": tools,
                            "tool_choice": "none"},
    )  # fmt: skip
    assert problems(RESPONSE, reply.json()) == []


def test_a_file_without_the_interpreter_is_shown_to_the_model(client):
    part = {
        "type": "input_file",
        "filename": "title.pdf",
        "file_data": "data:application/pdf;base64,JVBERi0xLjE=",
    }
    text = {"type": "input_text", "text": "What is its title?"}
    found = create(client, input=[user([text, part])])
    assert found["status"] == "completed"
    assert found["output"]


def test_a_forced_call_is_answered_by_a_response_that_has_no_tools(client):
    choice = {"type": "function", "name": "get_weather"}
    first = create(client, input="The weather?", tools=[WEATHER], tool_choice=choice)
    assert first["tool_choice"] == choice
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "64 degrees"}
    second = create(client, input=[output], previous_response_id=first["id"])
    assert (second["status"], second["tools"]) == ("completed", [])
    assert second["output"][-1]["content"][0]["text"] == "Hello there."


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, "tools[0].type"),
        ({"type": "web_search", "external_web_access": False}, "tools[0].external_web_access"),
    ],
)
def test_what_the_optional_tests_ask_for_is_refused_by_name(client, tool, param):
    body = {"model": MODEL, "input": "Find it.", "tools": [tool]}
    reply = client.post("/responses", json=body)
    assert reply.status_code == 400
    assert problems(ERROR, reply.json()) == []
    assert reply.json()["error"]["param"] == param


def test_a_conversation_is_compacted(client):
    said = [
        user("My name is Alice."),
        {"type": "message", "role": "assistant", "content": "Hello Alice!"},
    ]
    reply = client.post("/responses/compact", json={"model": MODEL, "input": said})
    assert reply.status_code == 200
    assert problems(COMPACTED, reply.json()) == []
    goes_on = [*reply.json()["output"], user("What is my name?")]
    assert create(client, input=goes_on)["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": MODEL}, 400, "input"),
        ({"model": MODEL, "input": "x", "temperature": "hot"}, 400, "temperature"),
        ({"model": MODEL, "input": "x", "previous_response_id": "resp_none"}, 400,
         "previous_response_id"),
        ({"model": MODEL, "input": "x", "tools": [{"type": "shell"}]}, 400, "tools[0].type"),
        ({"model": MODEL, "input": "x", "tools": [{"type": "mcp", "server_label": "x"}]}, 400,
         "tools[0].type"),
        ({"model": MODEL, "input": [{"type": "apply_patch_call", "id": "x"}]}, 400,
         "input[0].type"),
    ],
)  # fmt: skip
def test_an_error_has_the_form_of_the_specification(client, body, status, param):
    reply = client.post("/responses", json=body)
    assert reply.status_code == status
    assert problems(ERROR, reply.json()) == []
    assert reply.json()["error"]["param"] == param


def test_what_is_wrong_is_found():
    """The check itself: a field that is missing, null, of another type, or unknown."""
    whole = {"id": 1, "object": "response", "temperature": None, "output": [{"type": "odd"}]}
    found = problems(RESPONSE, whole)
    assert "$.id: 1 is none of str" in found
    assert "$.temperature: None is none of int, float" in found
    assert "$.top_p is missing" in found
    assert "$.output[0]: type 'odd' is not known" in found
