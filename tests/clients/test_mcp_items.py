"""MCP servers of the config in Responses requests: the official client and a real server."""

import json
import socket
import subprocess
import sys
import time

import httpx2
import openai
import pytest

pytest.importorskip("mcp", reason="pip install 'mcp>=2.3'")

from openai import OpenAI
from serving import KEY, MODEL, config, directory, serving

from runner.config import McpSettings
from runner.models.openai_compatible import Endpoint, OpenAICompatible
from runner.tools.mcp_call import McpAnswer, McpCall, McpToolFacts
from runner.transcript import ToolCall

pytestmark = pytest.mark.slow
SERVER = '''
import os
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
server = MCPServer("places")

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b

@server.tool()
def note(text: str) -> str:
    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")
    return "noted"

@server.tool()
def fail(why: str) -> str:
    raise RuntimeError(why)

@server.tool()
def much() -> str:
    return "x" * 2_000_000

server.run(transport="stdio")
'''
PLACES = {"type": "mcp", "server_label": "places", "require_approval": "never"}


def chunk(delta, finish):
    found = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(found)}\n\n"


def answer(request):
    """Call what the question says, as `TOOL ARGUMENTS`, then repeat what was given."""
    body = json.loads(request.content)
    messages = body["messages"]
    last = messages[-1]
    if last["role"] == "user" and (words := str(last["content"]).split(" ", 1))[0].isidentifier():
        offered = {tool["function"]["name"] for tool in body.get("tools", [])}
        if words[0] in offered:
            function = {"name": words[0], "arguments": words[1]}
            call = {"index": 0, "id": "call_0", "type": "function", "function": function}
            text = chunk({"tool_calls": [call]}, "tool_calls")
            return httpx2.Response(200, text=f"{text}data: [DONE]\n\n")
    shown = [one["content"] for one in messages if one["role"] == "tool"]
    said = f"Got {str(shown[-1])[:300]}." if shown else f"Tools: {len(body.get('tools', []))}."
    return httpx2.Response(200, text=f"{chunk({'content': said}, 'stop')}data: [DONE]\n\n")


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("notes") / "notes"


@pytest.fixture(scope="module")
def server(tmp_path_factory, notes):
    script = tmp_path_factory.mktemp("mcp") / "server.py"
    script.write_text(SERVER)
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    command, env = (sys.executable, str(script)), {"NOTES": str(notes)}
    servers = {
        "places": McpSettings(command=command, env=env, in_snippets=False, max_calls=2),
        "both": McpSettings(command=command, env=env, tools=("add",)),
    }
    with serving(directory(model), config(mcp=servers)) as running:
        yield running


@pytest.fixture
def ask(server):
    return OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0).responses


def kinds(response):
    return [item.type for item in response.output]


def test_the_model_calls_a_tool_and_the_client_reads_list_and_call(ask):
    found = ask.create(model=MODEL, input='places_add {"a": 40}', tools=[PLACES])
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "message"]
    listed, call, _ = found.output
    assert (listed.server_label, [tool.name for tool in listed.tools], listed.error) == (
        "places", ["add", "note", "fail", "much"], None,
    )  # fmt: skip
    assert listed.tools[0].input_schema["required"] == ["a"]
    assert listed.tools[0].annotations["readOnlyHint"] is True
    assert (call.server_label, call.name, call.arguments, call.output, call.error, call.status) == (
        "places", "add", '{"a": 40}', "42", None, "completed",
    )  # fmt: skip
    assert found.output_text == "Got 42."


def test_the_stream_has_the_clients_events_in_order(ask):
    with ask.stream(model=MODEL, input='places_add {"a": 40}', tools=[PLACES]) as stream:
        events = list(stream)
        final = stream.get_final_response()
    seen = [event.type for event in events if "mcp" in event.type]
    assert seen == [
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
    ]
    numbers = [event.sequence_number for event in events if "mcp" in event.type]
    assert numbers == sorted(set(numbers))
    done = [event.item.type for event in events if event.type == "response.output_item.done"]
    assert done == kinds(final) == ["mcp_list_tools", "mcp_call", "message"]


def test_a_failure_of_the_tool_is_the_items_error(ask):
    with ask.stream(model=MODEL, input='places_fail {"why": "rain"}', tools=[PLACES]) as stream:
        seen = [event.type for event in stream]
        call = stream.get_final_response().output[1]
    assert "response.mcp_call.failed" in seen
    assert "response.mcp_call.completed" not in seen
    assert (call.status, call.output, call.error.type) == (
        "failed", None, "mcp_tool_execution_error",
    )  # fmt: skip
    assert "fail" in call.error.content[0]["text"]
    wrong = ask.create(model=MODEL, input='places_add {"a": "x"}', tools=[PLACES])
    assert wrong.output[1].status == "failed"


def test_what_a_tool_gives_is_bounded(ask):
    call = ask.create(model=MODEL, input="places_much {}", tools=[PLACES]).output[1]
    assert 200_000 < len(call.output) < 300_000
    assert "left out" in call.output


@pytest.mark.parametrize("how", ["previous", "replayed", "conversation"])
def test_a_call_waits_for_its_approval(server, ask, notes, how):
    notes.write_text("")
    tool = {"type": "mcp", "server_label": "places"}  # As OpenAI's, approval is the default.
    more = {}
    if how == "conversation":
        client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
        more = {"conversation": client.conversations.create().id}
    question = 'places_note {"text": "one"}'
    first = ask.create(model=MODEL, input=question, tools=[tool], **more)
    assert kinds(first) == ["mcp_list_tools", "mcp_approval_request"]
    request = first.output[1]
    assert (request.name, json.loads(request.arguments)) == ("note", {"text": "one"})
    assert notes.read_text() == ""
    said = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
    sent = [said]
    if how == "previous":
        more = {"previous_response_id": first.id}
    elif how == "replayed":
        sent = [{"role": "user", "content": question}, *first.output, said]
    last = ask.create(model=MODEL, input=sent, tools=[tool], **more)
    assert kinds(last) == ["mcp_call", "message"]
    call = last.output[0]
    assert (call.approval_request_id, call.output, call.status) == (
        request.id, "noted", "completed",
    )  # fmt: skip
    assert (last.output_text, notes.read_text()) == ("Got noted.", "one\n")
    # The conversation goes on, and the call is not made again.
    more = more if how == "conversation" else {"previous_response_id": last.id}
    after = ask.create(model=MODEL, input="Thanks.", tools=[tool], **more)
    assert (kinds(after), notes.read_text()) == (["message"], "one\n")
    assert after.output_text == "Got noted."
    with pytest.raises(openai.BadRequestError, match="no call waits"):
        ask.create(model=MODEL, input=[said], tools=[tool], **more)


def test_a_call_that_is_not_approved_is_not_made_and_the_model_is_told(ask, notes):
    notes.write_text("")
    tool = {**PLACES, "require_approval": "always"}
    first = ask.create(model=MODEL, input='places_note {"text": "no"}', tools=[tool])
    said = {"type": "mcp_approval_response", "approval_request_id": first.output[1].id,
            "approve": False, "reason": "not today"}  # fmt: skip
    last = ask.create(model=MODEL, input=[said], tools=[tool], previous_response_id=first.id)
    assert "did not approve" in last.output_text
    assert "not today" in last.output_text
    passed_over = ask.create(
        model=MODEL, input="Go on.", tools=[tool], previous_response_id=first.id
    )
    assert "did not approve" in passed_over.output_text
    assert notes.read_text() == ""


def test_filters_say_which_tools_there_are_and_which_wait(ask):
    one = ask.create(model=MODEL, input="Hi.", tools=[{**PLACES, "allowed_tools": ["add"]}])
    assert [tool.name for tool in one.output[0].tools] == ["add"]
    assert one.output_text == "Tools: 1."
    reading = {**PLACES, "allowed_tools": {"read_only": True}}
    assert len(ask.create(model=MODEL, input="Hi.", tools=[reading]).output[0].tools) == 1
    some = {**PLACES, "require_approval": {"never": {"tool_names": ["add"]}}}
    asked = ask.create(model=MODEL, input='places_add {"a": 1}', tools=[some])
    assert kinds(asked)[1] == "mcp_call"
    waits = ask.create(model=MODEL, input='places_note {"text": "x"}', tools=[some])
    assert kinds(waits)[1] == "mcp_approval_request"


def test_the_list_is_made_once_in_a_conversation(ask):
    first = ask.create(model=MODEL, input="Hi.", tools=[PLACES])
    second = ask.create(
        model=MODEL, input='places_add {"a": 1}', tools=[PLACES], previous_response_id=first.id
    )
    assert kinds(second) == ["mcp_call", "message"]


def test_a_choice_may_name_a_tool_and_calls_are_counted(server, ask):
    found = ask.create(
        model=MODEL, input='places_add {"a": 1}', tools=[PLACES],
        tool_choice={"type": "mcp", "server_label": "places", "name": "add"},
    )  # fmt: skip
    assert found.output[1].output == "3"
    assert found.usage.to_dict()["x_tools"]["places_add"] == {"count": 1}
    assert 'tool="mcp"' in bytes(server.services.metrics.text()).decode()


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"server_label": "other"}, "[mcp.other]"),
        ({"server_label": "other", "server_url": "http://127.0.0.1:9/mcp"}, "[mcp.other]"),
        ({"server_label": "a]\n[x"}, "[mcp.NAME]"),
        ({"server_label": "places", "server_url": "http://127.0.0.1:9/mcp"}, "another"),
        ({"server_label": "places", "authorization": "token"}, "authorization"),
        ({"server_label": "places", "headers": {"a": "b"}}, "headers"),
        ({"server_label": "places", "connector_id": "connector_gmail"}, "connector_id"),
        ({"server_label": "places", "allowed_tools": ["nothing"]}, "has no tool nothing"),
        ({"server_label": "places", "require_approval": "sometimes"}, "always, never"),
        ({}, "server_label is missing"),
    ],
)
def test_what_is_not_the_owners_is_refused(ask, tool, said):
    with pytest.raises(openai.BadRequestError) as caught:
        ask.create(model=MODEL, input="Hi.", tools=[{"type": "mcp", **tool}])
    assert said in caught.value.message
    assert "127.0.0.1:9" not in caught.value.message


def test_snippets_may_not_go_round_an_approval(ask):
    both = {"type": "mcp", "server_label": "both"}
    with pytest.raises(openai.BadRequestError, match="without it"):
        ask.create(model=MODEL, input="Hi.", tools=[both, {"type": "code_interpreter"}])
    found = ask.create(
        model=MODEL, input="Hi.",
        tools=[both | {"require_approval": "never"}, {"type": "code_interpreter"}],
    )  # fmt: skip
    assert kinds(found)[0] == "mcp_list_tools"
    # A server that snippets do not have needs no such rule.
    waits = {"type": "mcp", "server_label": "places"}
    ask.create(model=MODEL, input="Hi.", tools=[waits, {"type": "code_interpreter"}])


def test_a_server_that_has_ended_is_listed_as_failed(tmp_path, notes):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    one = McpSettings(command=(sys.executable, str(script)), env={"NOTES": str(notes)})
    with serving(directory(model), config(mcp={"places": one})) as running:
        running.services.mcp_functions.servers["places"][0].close_now()
        asking = OpenAI(base_url=f"{running.origin}/v1", api_key=KEY, max_retries=0).responses
        with asking.stream(model=MODEL, input="Hi.", tools=[PLACES]) as stream:
            seen = [event.type for event in stream if "mcp" in event.type]
            final = stream.get_final_response()
        assert seen[-1] == "response.mcp_list_tools.failed"
        assert "has ended" in final.output[0].error
        assert final.output_text == "Tools: 0."


async def test_a_tool_is_called_so_often_and_no_more():
    class Echo:
        is_open = True
        listed = ()

        async def call(self, name, arguments):
            return McpAnswer(f"{name} {dict(arguments)}")

    facts = McpToolFacts("t", "Does.", {"properties": {"a": {"type": "string"}}})
    tool = McpCall(
        Echo(), facts, name="x_t", label="x", about="words", most=2, shown_chars=1000
    )  # fmt: skip
    assert tool.spec.description == "Does.\n(x: words)"
    given = [(await tool.run(ToolCall(id="1", name="x_t", arguments=text))).shown
             for text in ("", '"bare"', "{}")]  # fmt: skip
    assert given[:2] == ["t {}", "t {'a': 'bare'}"]
    assert "its limit" in given[2]


@pytest.fixture(scope="module")
def over_http(tmp_path_factory):
    """The same servers, reached by their address; they let in who has their key alone."""
    script = tmp_path_factory.mktemp("mcp") / "server.py"
    text = SERVER.replace('server.run(transport="stdio")', HTTP_RUN)
    assert text != SERVER
    script.write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    endpoint = Endpoint(url="http://upstream.test/v1", retries=0)
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    headers = {"authorization": "Bearer of-the-config"}
    servers = {
        "places": McpSettings(url=url, headers=headers, in_snippets=False),
        "both": McpSettings(url=url, headers=headers, tools=("add",), prefix="far_"),
    }
    with subprocess.Popen([sys.executable, str(script), str(port)]) as process:
        try:
            wait_until_it_listens(port)
            with serving(directory(model), config(mcp=servers)) as running:
                yield running
        finally:
            process.kill()


HTTP_RUN = """
import sys, uvicorn

app = server.streamable_http_app()

async def guarded(scope, receive, send):
    headers = dict(scope.get("headers", []))
    if scope["type"] == "http" and headers.get(b"authorization") != b"Bearer of-the-config":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await app(scope, receive, send)

uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


def wait_until_it_listens(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.1)
        else:
            return


def test_a_server_at_an_address_is_called_as_one_that_is_started(over_http):
    ask = OpenAI(base_url=f"{over_http.origin}/v1", api_key=KEY, max_retries=0).responses
    found = ask.create(model=MODEL, input='places_add {"a": 40}', tools=[PLACES])
    assert kinds(found) == ["mcp_list_tools", "mcp_call", "message"]
    assert found.output[0].tools[0].annotations["readOnlyHint"] is True
    assert (found.output[1].output, found.output_text) == ("42", "Got 42.")
    failed = ask.create(model=MODEL, input='places_fail {"why": "rain"}', tools=[PLACES])
    assert (failed.output[1].status, failed.output[1].error.type) == (
        "failed", "mcp_tool_execution_error",
    )  # fmt: skip


def test_a_server_at_an_address_is_there_in_snippets(over_http):
    url = f"{over_http.origin}/v1/responses"
    call = 'code_interpreter {"code": "far_add(a=40)"}'
    body = {"model": MODEL, "input": call, "tools": [{"type": "code_interpreter"}]}
    reply = httpx2.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    assert reply.status_code == 200, reply.text
    assert "Got 42" in reply.text
