"""Chat Completions: streams byte for byte, and what a request may not say."""

import json

import pytest
from dialect_runs import MESSAGES, REQUEST_ID, loop_of, refusal, run
from talks import POWER, one_call

from runner.dialects import chat
from runner.dialects.faults import fault_of
from runner.errors import UpstreamError
from runner.transcript import (
    FunctionResult,
    Instruction,
    Question,
    Turn,
)

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
