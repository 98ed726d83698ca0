"""The three dialects: the same conversation on each channel, and each one's rules."""

import asyncio
import json

import pytest
from scripted import CALLED, STOPPED, ScriptedModel, call, say, spent, think
from talks import POWER, one_call, repaired

from runner.dialects import chat, dashscope, responses
from runner.dialects.faults import Fault, fault_of
from runner.dialects.fields import check_depth
from runner.dialects.responses_events import ResponsesWriter, frame
from runner.errors import RequestError, UpstreamError
from runner.events import Ended
from runner.loop import Budget, Loop
from runner.models.port import ModelRequest
from runner.transcript import (
    CodeRun,
    FunctionResult,
    Instruction,
    MadeFile,
    Question,
    ToolResult,
    Turn,
)

REQUEST_ID = "5d0f7a52-3b1e-4f0c-8a6d-2e9b7c41f083"
MESSAGES = [{"role": "user", "content": "What is 123 to the 21st power?"}]


def run(loop, feed):
    """What `feed` makes of all events of `loop`."""

    async def drive():
        return [made async for event in loop.run() for made in feed(event)]

    return asyncio.run(drive())


def loop_of(talk, **options):
    model, tool = talk
    return Loop(model, ModelRequest(entries=(Question(text="?"),)), [tool], **options)


def refusal(parse, body, **options):
    with pytest.raises(RequestError) as caught:
        parse(body, **options)
    return caught.value


# ---- Chat Completions ---------------------------------------------------------------------------

CHAT = {
    "model": "qwen3-max", "messages": MESSAGES, "stream": True,
    "enable_code_interpreter": True, "enable_thinking": True,
}  # fmt: skip


def chat_frames(talk, **changes):
    parsed, options = chat.parse({**CHAT, **changes})
    writer = chat.ChatWriter(
        parsed, options, completion_id="chatcmpl-1", created=1764000000, model=parsed.model
    )
    return [*writer.begin(), *run(loop_of(talk), writer.feed)]


def test_a_chat_stream_is_byte_for_byte_what_clients_expect():
    head = '{"choices":[{"delta":'
    tail = (
        ',"index":0,"logprobs":null}],"object":"chat.completion.chunk","usage":null,'
        '"created":1764000000,"system_fingerprint":null,"model":"qwen3-max","id":"chatcmpl-1"}'
    )
    deltas = [
        '{"content":null,"role":"assistant","reasoning_content":""}',
        '{"content":null,"reasoning_content":"I need an exact"}',
        '{"content":null,"reasoning_content":" value, so I will run Python."}',
        '{"content":null,"reasoning_content":"The tool returned"}',
        '{"content":null,"reasoning_content":" the number."}',
        '{"content":"123 to the 21st power is ","reasoning_content":null}',
        f'{{"content":"{POWER}.","reasoning_content":null}}',
    ]
    wanted = [f'data: {head}{delta},"finish_reason":null{tail}\n\n' for delta in deltas]
    last = '{"content":"","reasoning_content":null}'
    wanted.append(f'data: {head}{last},"finish_reason":"stop"{tail}\n\n')
    wanted.append(
        'data: {"choices":[],"object":"chat.completion.chunk","usage":{"prompt_tokens":793,'
        '"completion_tokens":134,"total_tokens":927,"completion_tokens_details":'
        '{"reasoning_tokens":60}},"created":1764000000,"system_fingerprint":null,'
        '"model":"qwen3-max","id":"chatcmpl-1"}\n\n'
    )
    wanted.append("data: [DONE]\n\n")
    frames = chat_frames(one_call(), stream_options={"include_usage": True})
    assert b"".join(frames).decode() == "".join(wanted)


def test_without_include_usage_no_chunk_has_empty_choices():
    assert b'"choices":[]' not in b"".join(chat_frames(one_call()))


def test_code_shows_in_chat_only_when_it_is_asked_for():
    assert b"123**21" not in b"".join(chat_frames(one_call()))
    shown = b"".join(chat_frames(one_call(), stream_options={"include_tool_info": True}))
    assert b'"code":"123**21"' in shown
    assert f'"logs":"{POWER}"'.encode() in shown


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools",
         "The code interpreter and function tools cannot be used together."),
        ({"enable_thinking": False}, "enable_thinking",
         "The code interpreter is only supported in thinking mode."),
        ({"enable_thinking": None}, "enable_thinking",
         "The code interpreter is only supported in thinking mode."),
        ({"stream": False}, "enable_thinking",
         "parameter.enable_thinking must be set to false for non-streaming calls"),
        ({"response_format": {"type": "json_object"}}, "response_format",
         "Json mode response is not supported when enable_thinking is true"),
        ({"messages": []}, "messages", "messages must be a non-empty array."),
        ({"messages": "hi"}, "messages", "messages must be an array."),
        ({"messages": [{"role": "robot"}]}, "messages[0].role",
         "messages[0].role must be one of system, developer, user, assistant, tool, function."),
        ({"messages": [7]}, "messages[0]", "messages[0] must be a JSON object."),
        ({"temperature": "hot"}, "temperature", "temperature must be a number."),
        ({"temperature": 3}, "temperature", "temperature must be in [0, 2]."),
        ({"top_p": 0}, "top_p", "top_p must be in (0, 1]."),
        ({"thinking_budget": 0}, "thinking_budget", "thinking_budget must be at least 1."),
        ({"n": 2}, "n", "n must be 1."),
        ({"max_tokens": True}, "max_tokens", "max_tokens must be an integer."),
        ({"stream": "yes"}, "stream", "stream must be true or false."),
        ({"model": None}, "model", "you must provide a model parameter"),
        ({"tools": [{"type": "retrieval"}], "enable_code_interpreter": False}, "tools[0].type",
         "tools[0].type is 'retrieval'; only 'function' is known here."),
    ],
)  # fmt: skip
def test_a_wrong_chat_request_is_named_by_its_field(changes, param, message):
    error = refusal(chat.parse, {**CHAT, **changes})
    assert (error.param, error.message) == (param, message)
    fault = fault_of(error)
    body = chat.error_body(fault, REQUEST_ID)
    assert fault.status == 400
    assert body == {
        "error": {"message": message, "type": "invalid_request_error", "param": param,
                  "code": "invalid_parameter_error"},
        "request_id": REQUEST_ID,
    }  # fmt: skip


def test_an_empty_list_of_tools_is_no_conflict():
    parsed, _ = chat.parse({**CHAT, "tools": []})
    assert parsed.has_interpreter


def test_chat_messages_become_a_transcript_without_earlier_thinking():
    parsed, _ = chat.parse(
        {
            **CHAT,
            "enable_code_interpreter": False,
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Look"},
                                             {"type": "image_url", "image_url": {"url": "u"}}]},
                {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
                    {"id": "a", "type": "function",
                     "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "7"},
            ],
        }
    )  # fmt: skip
    system, user, turn, result = parsed.entries
    assert system == Instruction(text="Be kind.")
    assert user == Question(text="Look", images=("u",))
    assert isinstance(turn, Turn)
    assert (turn.reasoning, turn.calls[0].name) == ("", "f")
    assert result == FunctionResult(call_id="a", text="7")


def test_search_switches_turn_on_the_web_tools():
    parsed, _ = chat.parse({**CHAT, "enable_search": True})
    assert parsed.tools == {"code_interpreter", "web_search"}
    options = {"search_strategy": "agent_max"}
    parsed, _ = chat.parse({**CHAT, "enable_search": True, "search_options": options})
    assert parsed.tools == {"code_interpreter", "web_search", "web_extractor"}


def test_a_failure_in_a_chat_stream_is_a_frame_that_clients_raise():
    parsed, options = chat.parse(CHAT)
    writer = chat.ChatWriter(parsed, options, completion_id="c", created=1, model="m")
    (said,) = writer.fail(fault_of(UpstreamError("down", "10.0.0.1")))
    assert json.loads(said.removeprefix(b"data: ")) == {
        "error": {"message": "The model's endpoint cannot be reached.", "type": "server_error",
                  "param": None, "code": "server_error"}
    }  # fmt: skip


# ---- DashScope ----------------------------------------------------------------------------------

SCOPE = {
    "model": "qwen3-max",
    "input": {"messages": MESSAGES},
    "parameters": {"enable_code_interpreter": True, "enable_thinking": True,
                   "result_format": "message"},
}  # fmt: skip


def scope_frames(talk, **options):
    parsed, how = dashscope.parse(SCOPE, stream=True)
    writer = dashscope.DashScopeWriter(parsed, how, request_id=REQUEST_ID)
    loop = loop_of(talk, **options)
    return [*writer.begin(), *run(loop, lambda event: writer.feed(event, loop.usage))]


def scope_frame(number, text, thought, usage, codes=(), finish="null"):
    total, output, given, reasoning = usage
    info = ",".join(
        f'{{"code_interpreter":{{"code":{json.dumps(code)}}},"type":"code_interpreter"}}'
        for code in codes
    )
    tool_info = f',"tool_info":[{info}]' if codes else ""
    plugins = f',"plugins":{{"code_interpreter":{{"count":{len(codes)}}}}}' if codes else ""
    return (
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\n"
        f'data:{{"output":{{"choices":[{{"message":{{"content":"{text}","reasoning_content":'
        f'"{thought}","role":"assistant"}},"finish_reason":"{finish}"}}]{tool_info}}},'
        f'"usage":{{"total_tokens":{total},"output_tokens":{output},"input_tokens":{given},'
        f'"output_tokens_details":{{"reasoning_tokens":{reasoning}}}{plugins}}},'
        f'"request_id":"{REQUEST_ID}"}}\n\n'
    )


def test_a_dashscope_stream_is_byte_for_byte_what_clients_expect():
    code = ["123**21"]
    wanted = [
        scope_frame(1, "", "I need an exact", (347, 6, 341, 4)),
        scope_frame(2, "", " value, so I will run Python.", (374, 33, 341, 31)),
        scope_frame(3, "", "", (382, 41, 341, 31)),
        scope_frame(4, "", "", (399, 58, 341, 31)),
        scope_frame(5, "", "", (399, 58, 341, 31), code),
        scope_frame(6, "", "The tool returned", (856, 63, 793, 34), code),
        scope_frame(7, "", " the number.", (882, 89, 793, 60), code),
        scope_frame(8, "123 to the 21st power is ", "", (891, 98, 793, 60), code),
        scope_frame(9, f"{POWER}.", "", (927, 134, 793, 60), code),
        scope_frame(10, "", "", (927, 134, 793, 60), code, "stop"),
    ]
    assert b"".join(scope_frames(one_call())).decode() == "".join(wanted)


def test_a_failing_snippet_shows_in_dashscope_as_two_codes():
    frames = scope_frames(repaired())
    codes = ["print(x + 1)", "x = 41\nprint(x + 1)"]
    assert frames[-1].decode() == scope_frame(
        len(frames), "", "", (1608, 175, 1433, 71), codes, "stop"
    )


def test_plugins_are_there_with_count_0_when_nothing_was_run():
    frames = scope_frames((ScriptedModel([*say("Hi."), STOPPED]), one_call()[1]))
    assert b"plugins" not in frames[0]
    assert b'"plugins":{"code_interpreter":{"count":0}}' in frames[-1]


@pytest.mark.parametrize(
    ("changes", "stream", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, True,
         "The code interpreter and function tools cannot be used together."),
        ({"enable_thinking": False}, True,
         "The code interpreter is only supported in thinking mode."),
        ({}, False, "parameter.enable_thinking must be set to false for non-streaming calls"),
        ({"incremental_output": False}, True,
         'The incremental_output parameter must be "true" when enable_thinking is true'),
        ({"result_format": "text"}, True,
         'The result_format parameter must be "message" when enable_thinking is true'),
        ({"thinking_budget": 1.5}, True, "parameters.thinking_budget must be an integer."),
    ],
)  # fmt: skip
def test_a_wrong_dashscope_request_is_an_invalid_parameter(changes, stream, message):
    body = {**SCOPE, "parameters": {**SCOPE["parameters"], **changes}}
    fault = fault_of(refusal(dashscope.parse, body, stream=stream))
    assert fault.status == 400
    assert dashscope.error_body(fault, REQUEST_ID) == {
        "code": "InvalidParameter", "message": message, "request_id": REQUEST_ID,
    }  # fmt: skip


@pytest.mark.parametrize("given", [None, {}, {"messages": []}, {"prompt": ""}])
def test_dashscope_needs_a_prompt_or_messages(given):
    error = refusal(dashscope.parse, {"model": "m", "input": given}, stream=False)
    assert error.message == 'Either "prompt" or "messages" must exist'


def test_repeating_output_and_plain_text_are_still_spoken():
    body = {
        "model": "m", "input": {"prompt": "hi"},
        "parameters": {"incremental_output": False, "result_format": "text"},
    }  # fmt: skip
    parsed, how = dashscope.parse(body, stream=True)
    writer = dashscope.DashScopeWriter(parsed, how, request_id=REQUEST_ID)
    loop = Loop(ScriptedModel([*say("a", "b"), spent(1, 2, 0), STOPPED]), parsed.model_request())
    frames = run(loop, lambda event: writer.feed(event, loop.usage))
    outputs = [json.loads(one.partition(b"data:")[2])["output"] for one in frames]
    assert outputs == [
        {"text": "a", "finish_reason": "null"},
        {"text": "ab", "finish_reason": "null"},
        {"text": "ab", "finish_reason": "stop"},
    ]


def test_an_error_frame_has_no_space_after_its_event():
    parsed, how = dashscope.parse(SCOPE, stream=True)
    writer = dashscope.DashScopeWriter(parsed, how, request_id=REQUEST_ID)
    (said,) = writer.fail(Fault(503, "sandbox", "The code sandbox is not available."))
    assert said.decode() == (
        "id:1\nevent:error\n:HTTP_STATUS/503\nstatus:503\n"
        'data:{"code":"ModelUnavailable","message":"The code sandbox is not available.",'
        f'"request_id":"{REQUEST_ID}"}}\n\n'
    )


# ---- Responses ----------------------------------------------------------------------------------

CODE_TOOL = {"type": "code_interpreter"}
RESPONSES = {"model": "qwen3-max", "input": "What is 123 to the 21st power?", "tools": [CODE_TOOL]}


def parse_it(**changes):
    return responses.parse({**RESPONSES, **changes}, lookup=lambda _id: None)


def writer_of(parsed, options, **changes):
    counts = {}

    def new_id(prefix):
        counts[prefix] = counts.get(prefix, 0) + 1
        return f"{prefix}_{counts[prefix]}"

    return ResponsesWriter(
        response_id="resp_4fa0", created_at=1764000000, model=parsed.model, echo=options.echo,
        new_id=new_id, container_id=lambda: "cntr_7c1e", **changes,
    )  # fmt: skip


def events_of(talk, writer=None, budget=None, **changes):
    parsed, options = parse_it(**changes)
    writer = writer or writer_of(parsed, options)

    def feed(event):
        if isinstance(event, Ended):
            return writer.end(event, completed_at=1764000021)
        return writer.feed(event)

    return [*writer.begin(), *run(loop_of(talk, budget=budget), feed)]


def test_a_responses_stream_has_every_event_in_its_place():
    events = events_of(one_call())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    names = [event["type"].removeprefix("response.") for event in events]
    reasoning = [
        "output_item.added", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    code = [
        "output_item.added", "code_interpreter_call.in_progress",
        "code_interpreter_call_code.delta", "code_interpreter_call_code.done",
        "code_interpreter_call.interpreting", "code_interpreter_call.completed",
        "output_item.done",
    ]  # fmt: skip
    message = [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
    ]  # fmt: skip
    wanted = ["created", "in_progress", *reasoning, *code, *reasoning, *message, "completed"]
    written = [name for name in names if name != "code_interpreter_call_code.delta"]
    assert written == [name for name in wanted if name != "code_interpreter_call_code.delta"]
    deltas = [event["delta"] for event in events if "call_code.delta" in event["type"]]
    assert "".join(deltas) == "123**21"
    places = [event["output_index"] for event in events if "output_item" in event["type"]]
    assert places == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_items_of_a_response_are_those_that_clients_read():
    response = events_of(one_call())[-1]["response"]
    thought = ["I need an exact value, so I will run Python.", "The tool returned the number."]
    text = f"123 to the 21st power is {POWER}."
    assert response["output"] == [
        {"id": "rs_1", "type": "reasoning", "status": "completed",
         "summary": [{"type": "summary_text", "text": thought[0]}]},
        {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "123**21",
         "container_id": "cntr_7c1e", "outputs": [{"type": "logs", "logs": POWER}]},
        {"id": "rs_2", "type": "reasoning", "status": "completed",
         "summary": [{"type": "summary_text", "text": thought[1]}]},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]},
    ]  # fmt: skip
    assert response["usage"] == {
        "input_tokens": 793, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 134, "output_tokens_details": {"reasoning_tokens": 60},
        "total_tokens": 927, "x_tools": {"code_interpreter": {"count": 1}},
    }  # fmt: skip
    assert (response["status"], response["id"]) == ("completed", "resp_4fa0")
    assert response["tools"] == [CODE_TOOL]


def test_an_item_is_added_empty_and_done_whole():
    events = events_of(one_call())
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    assert added[1] == {
        "id": "ci_1", "type": "code_interpreter_call", "status": "in_progress", "code": "",
        "container_id": "cntr_7c1e", "outputs": [],
    }  # fmt: skip
    assert added[3]["content"] == added[0]["summary"] == []


def test_a_failing_snippet_is_a_completed_call():
    response = events_of(repaired())[-1]["response"]
    calls = [item for item in response["output"] if item["type"] == "code_interpreter_call"]
    assert [(one["status"], one["outputs"][0]["logs"]) for one in calls] == [
        ("completed", "NameError: x\n"), ("completed", "42\n"),
    ]  # fmt: skip
    assert response["usage"]["x_tools"] == {"code_interpreter": {"count": 2}}
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (1433, 175)


def test_x_tools_are_there_when_nothing_was_run():
    model = ScriptedModel([*say("Hi."), STOPPED])
    response = events_of((model, one_call()[1]))[-1]["response"]
    assert response["usage"]["x_tools"] == {"code_interpreter": {"count": 0}}


def test_a_spent_budget_of_rounds_is_an_incomplete_response():
    model = ScriptedModel([*think("hm"), *say("half"), spent(1, 9, 1), call("x")[0], CALLED])
    events = events_of((model, one_call()[1]), budget=Budget(rounds=1))
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_messages"}
    assert response["output"][-1]["status"] == "incomplete"


def test_a_failed_response_closes_what_was_open():
    parsed, options = parse_it()
    writer = writer_of(parsed, options)
    loop = loop_of((ScriptedModel([*think("hm"), UpstreamError("cut")]), one_call()[1]))
    events = list(writer.begin())

    async def drive():
        async for event in loop.run():
            events.extend(writer.feed(event))

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(drive())
    events.extend(writer.fail(fault_of(caught.value), loop.usage, loop.counts))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {
        "code": "server_error", "message": "The model's endpoint ended its answer in the middle.",
    }  # fmt: skip
    assert last["response"]["output"][0]["status"] == "incomplete"


def result_with(**changes):
    details = CodeRun(code="plot()", container_id="cntr_7c1e", **changes)
    return ToolResult(call_id="call_a", tool="code_interpreter", shown="", details=details)


class Plotting:
    """A tool whose snippet draws and saves."""

    aliases: frozenset[str] = frozenset()

    def __init__(self, spec, **changes):
        self.spec, self._changes = spec, changes
        self.aliases = frozenset()

    async def run(self, _call):
        return result_with(**self._changes)

    async def close(self):
        pass


def test_images_follow_the_logs_and_files_are_cited_where_the_text_links_to_them():
    made = (
        MadeFile(path="plot.png", file_id="cfile_3b"),
        MadeFile(path="b.csv", file_id="cfile_4"),
    )
    tool = Plotting(one_call()[1].spec, images=("data:image/png;base64,AA==",), files=made)
    text = "See [plot.png](sandbox:/mnt/data/plot.png)."
    model = ScriptedModel([*call("plot()"), CALLED], [*say(text), STOPPED])
    events = events_of((model, tool))
    output = events[-1]["response"]["output"]
    assert output[0]["outputs"] == [
        {"type": "logs", "logs": ""}, {"type": "image", "url": "data:image/png;base64,AA=="},
    ]  # fmt: skip
    cited = output[1]["content"][0]["annotations"]
    start = text.index("sandbox:")
    assert cited == [
        {"type": "container_file_citation", "container_id": "cntr_7c1e", "file_id": "cfile_3b",
         "filename": "plot.png", "start_index": start, "end_index": len(text) - 2},
        {"type": "container_file_citation", "container_id": "cntr_7c1e", "file_id": "cfile_4",
         "filename": "b.csv", "start_index": 0, "end_index": 0},
    ]  # fmt: skip
    names = [event["type"] for event in events]
    assert names.index("response.output_text.annotation.added") < names.index(
        "response.output_text.done"
    )


@pytest.mark.parametrize("status", ["limit_exceeded", "died", "failed"])
def test_a_call_that_the_sandbox_ended_is_failed_and_says_why(status):
    tool = Plotting(one_call()[1].spec, status=status, notice="Stopped: too long.")
    model = ScriptedModel([*call("plot()"), CALLED], [*say("No."), STOPPED])
    item = events_of((model, tool))[-1]["response"]["output"][0]
    assert item["status"] == "failed"
    assert item["outputs"] == [{"type": "logs", "logs": "Stopped: too long."}]


def test_strict_outputs_are_null():
    parsed, options = parse_it()
    writer = writer_of(parsed, options, shows_outputs=False)
    item = events_of(one_call(), writer=writer)[-1]["response"]["output"][1]
    assert item["outputs"] is None


def test_frames_have_an_event_line_and_no_id():
    assert frame({"type": "error", "text": "é"}) == (
        'event: error\ndata: {"type":"error","text":"é"}\n\n'.encode()
    )


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"tools": [CODE_TOOL, {"type": "function", "name": "f", "parameters": {}}]}, "tools",
         "The code interpreter and function tools cannot be used together."),
        ({"enable_thinking": False}, "enable_thinking",
         "The code interpreter is only supported in thinking mode."),
        ({"reasoning": {"effort": "none"}}, "reasoning.effort",
         "The code interpreter is only supported in thinking mode."),
        ({"tools": [{"type": "browser"}]}, "tools[0].type",
         "tools[0].type is 'browser'; known types: code_interpreter, web_search,"
         " web_search_preview, web_extractor, function."),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto",
                                                               "memory_limit": "3g"}}]},
         "tools[0].container.memory_limit",
         "tools[0].container.memory_limit must be one of 1g, 4g, 16g, 64g."),
        ({"previous_response_id": "a", "conversation": "b"}, "conversation",
         "previous_response_id and conversation cannot be used together."),
        ({"background": True, "store": False}, "background",
         "background requires store to be true."),
        ({"input": None}, "input", "input must be a string or a non-empty array."),
        ({"input": [{"type": "music"}]}, "input[0].type",
         "input[0].type is 'music', which this server does not know."),
        ({"metadata": {"a": 1}}, "metadata.a",
         "metadata.a must be a string of at most 512 characters."),
    ],
)  # fmt: skip
def test_a_wrong_responses_request_is_named_by_its_field(changes, param, message):
    error = refusal(responses.parse, {**RESPONSES, **changes}, lookup=lambda _id: None)
    assert (error.param, error.message, fault_of(error).status) == (param, message, 400)


def test_the_interpreter_turns_thinking_on_when_nothing_is_said():
    assert parse_it()[0].thinking is True
    assert parse_it(reasoning={"effort": "high"}, enable_thinking=False)[0].thinking is True
    assert parse_it(tools=[])[0].thinking is None


def test_earlier_output_is_taken_back_as_the_clients_send_it():
    output = events_of(one_call())[-1]["response"]["output"]
    extracted = {"type": "web_extractor_call", "id": "we_1", "urls": ["u"], "goal": "g",
                 "output": "o", "status": "completed"}  # fmt: skip
    parsed, options = parse_it(
        input=[{"role": "user", "content": "Power?"}, *output, extracted,
               {"type": "code_interpreter_call", "id": "ci_9", "code": "1", "outputs": None,
                "container_id": "cntr_8", "status": "completed"},
               {"role": "user", "content": [{"type": "input_text", "text": "And?"}]}]
    )  # fmt: skip
    kinds = [type(entry).__name__ for entry in parsed.entries]
    assert kinds == ["Question", "Turn", "Turn", "Turn", "Turn", "Question"]
    first = parsed.entries[1]
    assert first.reasoning == "I need an exact value, so I will run Python."
    assert first.calls[0].arguments == '{"code":"123**21"}'
    assert first.results[0].shown == POWER
    assert parsed.entries[2].text == f"123 to the 21st power is {POWER}."
    assert parsed.entries[3].results[0].shown == "o"
    assert parsed.entries[4].results[0].shown == "[the code ran and printed nothing]"
    assert options.replayed_container == "cntr_8"


def test_a_reference_is_looked_up():
    stored = {"type": "message", "role": "assistant", "content": "Earlier."}
    body = {**RESPONSES, "input": [{"type": "item_reference", "id": "msg_1"}]}
    parsed, _ = responses.parse(body, lookup={"msg_1": stored}.get)
    assert parsed.entries == (Turn(text="Earlier."),)
    error = refusal(responses.parse, body, lookup=lambda _id: None)
    assert (error.fault, error.message) == ("not_found", "Item with id 'msg_1' not found.")


def test_a_body_that_nests_too_deeply_is_refused():
    value = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(RequestError):
        check_depth(value)
    check_depth({"a": [{"b": [1] * 1000}]})
