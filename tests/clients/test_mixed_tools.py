"""Functions of the client beside the interpreter: the code goes on where it stood."""

import json
import socket

import httpx2
import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, directory, serving

from runner.models.openai_compatible import Endpoint, OpenAICompatible

LOOK = {"name": "look", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
TOOLS = {
    "responses": [{"type": "code_interpreter"}, {"type": "function", **LOOK}],
    "chat": [{"type": "code_interpreter"}, {"type": "function", "function": LOOK}],
}
STUDIO = ("/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")


def call(number, name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    # The same ids in every conversation, as some endpoints have them.
    return {"index": number, "id": f"call_{number}", "type": "function", "function": function}


def chunk(delta, finish):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def answer(request):
    """Code and a function, then code that needs the first, then the words."""
    messages = json.loads(request.content)["messages"]
    shown = [one["content"] for one in messages if one["role"] == "tool"]
    if not shown:
        calls = [call(0, "code_interpreter", code="x = 41"), call(1, "look", q="more")]
        found = chunk({"tool_calls": calls}, "tool_calls")
    elif len(shown) == 2 and "one" in shown[-1]:
        found = chunk(
            {"tool_calls": [call(0, "code_interpreter", code="print(x + 1)")]}, "tool_calls"
        )
    else:
        found = chunk({"content": f"It is {shown[-1].strip()}."}, "stop")
    return httpx2.Response(200, text=f"data: {json.dumps(found)}\n\ndata: [DONE]\n\n")


@pytest.fixture(scope="module")
def server():
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    with serving(directory(model)) as running:
        yield running


def client(server, base="/v1"):
    return OpenAI(base_url=server.origin + base, api_key=KEY, max_retries=0)


@pytest.mark.parametrize("how", ["previous", "replayed"])
def test_a_response_ends_with_the_function_and_the_next_goes_on_in_its_container(server, how):
    ask = client(server).responses
    first = ask.create(model=MODEL, input="Go.", tools=TOOLS["responses"])
    assert [item.type for item in first.output] == ["code_interpreter_call", "function_call"]
    result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "one"}
    if how == "previous":
        last = ask.create(
            model=MODEL, input=[result], tools=TOOLS["responses"], previous_response_id=first.id
        )
    else:
        sent = [{"role": "user", "content": "Go."}, *first.output, result]
        last = ask.create(model=MODEL, input=sent, tools=TOOLS["responses"])
    assert last.output_text == "It is 42."
    assert last.output[0].container_id == first.output[0].container_id


@pytest.mark.parametrize("is_streamed", [False, True])
def test_chat_ends_with_the_function_and_goes_on_in_its_container(server, is_streamed):
    ask = client(server).chat.completions
    asked = [{"role": "user", "content": "Go."}]
    if is_streamed:
        with ask.stream(model=MODEL, messages=asked, tools=TOOLS["chat"]) as stream:
            for _ in stream:
                pass
            first = stream.get_final_completion()
    else:
        first = ask.create(model=MODEL, messages=asked, tools=TOOLS["chat"])
    assert first.choices[0].finish_reason == "tool_calls"
    (one,) = first.choices[0].message.tool_calls
    assert one.function.name == "look"
    said = {"role": "assistant", "content": None, "tool_calls": [
        {"id": one.id, "type": "function",
         "function": {"name": "look", "arguments": one.function.arguments}}]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": one.id, "content": "one"}
    last = ask.create(model=MODEL, messages=[*asked, said, result], tools=TOOLS["chat"])
    assert last.choices[0].message.content == "It is 42."


def test_another_conversation_has_another_container(server):
    ask = client(server).chat.completions
    ids = set()
    for _ in range(2):
        first = ask.create(
            model=MODEL, messages=[{"role": "user", "content": "Go."}], tools=TOOLS["chat"]
        )
        ids.add(first.choices[0].message.tool_calls[0].id)
    assert len(ids) == 2


@pytest.mark.parametrize("base", STUDIO)
def test_on_model_studios_paths_both_are_refused(server, base):
    with pytest.raises(openai.BadRequestError) as caught:
        client(server, base).responses.create(model=MODEL, input="Go.", tools=TOOLS["responses"])
    assert caught.value.param == "tools"


@pytest.mark.parametrize("base", ["/v1", *STUDIO])
def test_a_server_that_a_request_names_is_refused_and_never_called(server, base):
    with socket.create_server(("127.0.0.1", 0)) as named:
        url = f"http://127.0.0.1:{named.getsockname()[1]}/mcp"
        tool = {"type": "mcp", "server_label": "places", "server_url": url}
        ask = client(server, base)
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}, tool]
        with pytest.raises(openai.BadRequestError) as caught:
            ask.responses.create(model=MODEL, input="Go.", tools=tools)
        assert caught.value.param == "tools[1].type"
        assert "[mcp.places]" in caught.value.message
        assert url not in caught.value.message  # It may have a key in it.
        if base != STUDIO[1]:  # There is no chat.
            with pytest.raises(openai.BadRequestError) as caught:
                ask.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Go."}], tools=[tool]
                )
            assert caught.value.param == "tools[0].type"
        named.settimeout(0.2)
        with pytest.raises(TimeoutError):
            named.accept()
