"""DashScope: streams byte for byte, and what a request may not say."""

import json

import pytest
from dialect_runs import MESSAGES, REQUEST_ID, loop_of, refusal, run
from scripted import STOPPED, ScriptedModel, say, spent
from talks import POWER, one_call, repaired

from runner.dialects import dashscope
from runner.dialects.faults import Fault, fault_of
from runner.loop import Loop

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
