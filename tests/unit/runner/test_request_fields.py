"""Every field of both OpenAI schemas is honoured, passed on or refused; none is ignored.

The fields are those of the installed client library, so a new one fails here until it is placed.
"""

import json
import typing

import httpx2
import pytest
from openai.types.chat import completion_create_params
from openai.types.responses import ResponseIncludable, response_create_params

from runner.dialects import chat, dashscope, responses
from runner.dialects.schema_fields import (
    INCLUDABLE,
    PASSED_BY_BOTH,
    PASSED_BY_CHAT,
    PASSED_BY_DASHSCOPE,
    REFUSED_BY_CHAT,
    REFUSED_BY_DASHSCOPE,
    REFUSED_BY_RESPONSES,
)
from runner.errors import RequestError
from runner.models.openai_compatible import Endpoint, OpenAICompatible

FUNCTION = {"name": "look", "parameters": {"type": "object"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CHAT_SCHEMA = typing.get_type_hints(completion_create_params.CompletionCreateParamsBase)
RESPONSES_SCHEMA = typing.get_type_hints(response_create_params.ResponseCreateParamsBase)
USER = [{"role": "user", "content": "Hello?"}]

CHAT_HONOURED = {  # field: value, what of the parsed request or of what is sent shows it
    "frequency_penalty": (0.5, lambda parsed, sent: sent["frequency_penalty"] == 0.5),
    "max_completion_tokens": (7, lambda parsed, sent: sent["max_tokens"] == 7),
    "max_tokens": (7, lambda parsed, sent: sent["max_tokens"] == 7),
    "messages": (USER, lambda parsed, sent: sent["messages"] == USER),
    "model": ("m", lambda parsed, sent: sent["model"] == "m"),
    "parallel_tool_calls": (False, lambda parsed, sent: not parsed.parallel_calls),
    "presence_penalty": (0.5, lambda parsed, sent: sent["presence_penalty"] == 0.5),
    "reasoning_effort": ("low", lambda parsed, sent: sent["reasoning_effort"] == "low"),
    "response_format": (SCHEMA, lambda parsed, sent: sent["response_format"] == SCHEMA),
    "seed": (7, lambda parsed, sent: sent["seed"] == 7),
    "stop": ("END", lambda parsed, sent: sent["stop"] == ["END"]),
    "stream_options": ({"include_usage": True}, lambda parsed, sent: True),
    "temperature": (0.5, lambda parsed, sent: sent["temperature"] == 0.5),
    "tool_choice": ("none", lambda parsed, sent: parsed.tool_choice == "none"),
    "tools": ([{"type": "function", "function": FUNCTION}],
              lambda parsed, sent: [tool.name for tool in parsed.client_tools] == ["look"]),
    "top_p": (0.5, lambda parsed, sent: sent["top_p"] == 0.5),
}  # fmt: skip
RESPONSES_HONOURED = {  # field: value, what of the parsed request, the options or the echo shows it
    "background": (True, lambda parsed, how: how.background),
    "conversation": ({"id": "conv_1"}, lambda parsed, how: how.conversation == "conv_1"),
    "include": (["code_interpreter_call.outputs"], lambda parsed, how: how.include),
    "input": ("Hello?", lambda parsed, how: parsed.entries[-1].text == "Hello?"),
    "instructions": ("Be kind.", lambda parsed, how: parsed.entries[0].text == "Be kind."),
    "max_output_tokens": (7, lambda parsed, how: parsed.max_tokens == 7),
    "max_tool_calls": (2, lambda parsed, how: parsed.max_tool_calls == 2),
    "metadata": ({"a": "b"}, lambda parsed, how: how.echo["metadata"] == {"a": "b"}),
    "model": ("m", lambda parsed, how: parsed.model == "m"),
    "parallel_tool_calls": (False, lambda parsed, how: not parsed.parallel_calls),
    "previous_response_id": ("resp_1", lambda parsed, how: how.previous_response_id == "resp_1"),
    "reasoning": ({"effort": "low"}, lambda parsed, how: parsed.effort == "low"),
    "store": (False, lambda parsed, how: not how.store),
    "stream_options": ({"include_obfuscation": False}, lambda parsed, how: True),
    "temperature": (0.5, lambda parsed, how: parsed.sampling.temperature == 0.5),
    "text": ({"verbosity": "low", "format": {"type": "json_object"}},
             lambda parsed, how: parsed.sampling.passed_on == {"verbosity": "low"}
             and parsed.sampling.response_format == {"type": "json_object"}),
    "tool_choice": ("none", lambda parsed, how: parsed.tool_choice == "none"),
    "tools": ([{"type": "function", **FUNCTION}],
              lambda parsed, how: [tool.name for tool in parsed.client_tools] == ["look"]),
    "top_p": (0.5, lambda parsed, how: parsed.sampling.top_p == 0.5),
    "truncation": ("auto", lambda parsed, how: parsed.truncates),
}  # fmt: skip
ASKING = {  # values of the fields that are refused, where an object would not do
    "audio": {"voice": "alloy", "format": "mp3"}, "modalities": ["text", "audio"], "logprobs": True,
    "top_logprobs": 3, "functions": [FUNCTION], "function_call": {"name": "look"}, "n": 2,
    "context_management": [{"type": "compaction"}], "prompt": {"id": "pmpt_1"},
}  # fmt: skip


def chat_body(**more):
    return {"model": "m", "messages": USER, **more}


def responses_body(**more):
    return {"model": "m", "input": "Hello?", **more}


def parse_responses(body):
    return responses.parse(body, lookup=lambda _: None)


async def sent_for(parsed):
    """The body that the model's endpoint gets."""
    seen = []

    def answer(request):
        seen.append(json.loads(request.content))
        done = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
        return httpx2.Response(200, text=f"data: {json.dumps(done)}\n\n")

    model = OpenAICompatible(
        Endpoint(url="http://upstream.test/v1"), transport=httpx2.MockTransport(answer)
    )
    async for _ in model.stream(parsed.model_request()):
        pass
    return seen[0]


def test_every_field_of_chat_is_placed_once():
    placed = [*CHAT_HONOURED, *PASSED_BY_CHAT, *REFUSED_BY_CHAT]
    assert len(placed) == len(set(placed))
    assert set(CHAT_SCHEMA) - set(placed) == set()


def test_every_field_of_responses_is_placed_once():
    placed = [*RESPONSES_HONOURED, *PASSED_BY_BOTH, *REFUSED_BY_RESPONSES]
    assert len(placed) == len(set(placed))
    assert set(RESPONSES_SCHEMA) - set(placed) == set()


@pytest.mark.parametrize("field", CHAT_HONOURED)
async def test_chat_honours(field):
    value, shows = CHAT_HONOURED[field]
    parsed, _ = chat.parse(chat_body(**{field: value}))
    assert shows(parsed, await sent_for(parsed))


@pytest.mark.parametrize("field", RESPONSES_HONOURED)
def test_responses_honour(field):
    value, shows = RESPONSES_HONOURED[field]
    assert shows(*parse_responses(responses_body(**{field: value})))


VALUES = {"metadata": {"a": "b"}, "logit_bias": {"50256": -100}, "min_p": 0.1, "store": True}


@pytest.mark.parametrize("field", PASSED_BY_CHAT)
async def test_chat_passes_on(field):
    value = VALUES.get(field, "some")
    parsed, _ = chat.parse(chat_body(**{field: value}))
    assert (await sent_for(parsed))[field] == value


@pytest.mark.parametrize("field", PASSED_BY_BOTH)
async def test_responses_pass_on(field):
    parsed, _ = parse_responses(responses_body(**{field: "some"}))
    assert (await sent_for(parsed))[field] == "some"


@pytest.mark.parametrize("field", REFUSED_BY_CHAT)
def test_chat_refuses_by_name_and_takes_what_asks_for_nothing(field):
    with pytest.raises(RequestError) as caught:
        chat.parse(chat_body(**{field: ASKING.get(field, {"a": 1})}))
    assert caught.value.param == field
    for value in (None, *REFUSED_BY_CHAT[field].neutral):
        chat.parse(chat_body(**{field: value}))


@pytest.mark.parametrize("field", REFUSED_BY_RESPONSES)
def test_responses_refuse_by_name_and_take_what_asks_for_nothing(field):
    with pytest.raises(RequestError) as caught:
        parse_responses(responses_body(**{field: ASKING.get(field, {"a": 1})}))
    assert caught.value.param == field
    for value in (None, *REFUSED_BY_RESPONSES[field].neutral):
        parse_responses(responses_body(**{field: value}))


def test_what_can_be_included_is_known():
    others = set(typing.get_args(ResponseIncludable)) - set(INCLUDABLE)
    for name in [*others, "everything"]:
        with pytest.raises(RequestError) as caught:
            parse_responses(responses_body(include=[name]))
        assert caught.value.param == "include"


def test_padding_of_the_stream_is_refused():
    for parse, body in ((chat.parse, chat_body), (parse_responses, responses_body)):
        with pytest.raises(RequestError) as caught:
            parse(body(stream_options={"include_obfuscation": True}))
        assert caught.value.param == "stream_options.include_obfuscation"


def test_only_allowed_tools_are_offered():
    two = [{"type": "function", **FUNCTION}, {"type": "function", "name": "other"}]
    choice = {"type": "allowed_tools", "mode": "required",
              "tools": [{"type": "function", "name": "look"}]}  # fmt: skip
    parsed, _ = parse_responses(responses_body(tools=two, tool_choice=choice))
    assert ([tool.name for tool in parsed.client_tools], parsed.tool_choice) == (
        ["look"], "required",
    )  # fmt: skip
    nested = [{"type": "function", "function": tool} for tool in (FUNCTION, {"name": "other"})]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": nested[:1]}}
    parsed, _ = chat.parse(chat_body(tools=nested, tool_choice=choice))
    assert [tool.name for tool in parsed.client_tools] == ["look"]
    for kind, field in (("mcp", "server_label"), ("custom", "type")):
        with pytest.raises(RequestError) as caught:
            parse_responses(responses_body(tool_choice={"type": kind, "name": "x"}))
        assert caught.value.param == f"tool_choice.{field}"


# ---- DashScope ----------------------------------------------------------------------------------


def parse_dashscope(given=None, **parameters):
    body = {"model": "m", "input": given or {"messages": USER}, "parameters": parameters}
    return dashscope.parse(body, stream=False)[0]


@pytest.mark.parametrize("field", PASSED_BY_DASHSCOPE)
async def test_dashscope_passes_on(field):
    assert (await sent_for(parse_dashscope(**{field: 1.5})))[field] == 1.5


@pytest.mark.parametrize("field", REFUSED_BY_DASHSCOPE)
def test_dashscope_refuses_by_name_and_takes_what_asks_for_nothing(field):
    with pytest.raises(RequestError) as caught:
        parse_dashscope(**{field: ASKING.get(field, {"a": 1})})
    assert caught.value.param == f"parameters.{field}"
    for value in (None, *REFUSED_BY_DASHSCOPE[field].neutral):
        parse_dashscope(**{field: value})


def test_dashscope_honours_what_says_how_to_answer():
    tools = [{"type": "function", "function": FUNCTION}]
    parsed = parse_dashscope(
        tools=tools, parallel_tool_calls=False, max_completion_tokens=7, reasoning_effort="low"
    )
    assert (parsed.parallel_calls, parsed.max_tokens, parsed.effort) == (False, 7, "low")


async def test_dashscopes_history_is_said_before_the_prompt():
    given = {"prompt": "And now?", "history": [{"user": "Hello?", "bot": "Hello."}]}
    sent = await sent_for(parse_dashscope(given))
    assert [(one["role"], one["content"]) for one in sent["messages"]] == [
        ("user", "Hello?"), ("assistant", "Hello."), ("user", "And now?"),
    ]  # fmt: skip


# ---- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ({"type": "grammar"}, "text.format.type"),
        ({"type": "json_schema", "schema": {}}, "text.format.name"),
        ({"type": "json_schema", "name": "x"}, "text.format.schema"),
    ],
)
def test_a_format_that_cannot_be_asked_for_is_refused(text, param):
    with pytest.raises(RequestError) as caught:
        parse_responses(responses_body(text={"format": text}))
    assert caught.value.param == param


@pytest.mark.parametrize("field", ["partial", "prefix"])
def test_an_answer_that_is_to_be_continued_is_refused(field):
    said = [*USER, {"role": "assistant", "content": "It is", field: True}]
    with pytest.raises(RequestError) as caught:
        chat.parse(chat_body(messages=said))
    assert caught.value.param == f"messages[1].{field}"
    chat.parse(chat_body(messages=[*USER, {"role": "assistant", "content": "x", field: False}]))


FILES = [
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file": {"filename": "a.csv", "file_data": "data:text/csv;base64,YQ=="}},
]


def test_files_of_a_chat_go_into_the_container_or_to_the_endpoint():
    said = [{"role": "user", "content": [{"type": "text", "text": "Sum it."}, *FILES]}]
    tools = [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-0"]}}]
    parsed, _ = chat.parse(chat_body(messages=said, tools=tools), rules="openai")
    assert parsed.container.file_ids == ("file-0", "file-1")
    assert parsed.container.inline_files == (("a.csv", b"a"),)
    assert (parsed.entries[0].text, parsed.entries[0].parts) == ("Sum it.", ())
    parsed, _ = chat.parse(chat_body(messages=said), rules="openai")
    assert [part["type"] for part in parsed.entries[0].parts] == ["text", "file", "file"]


@pytest.mark.parametrize("file", [None, {}, {"file_data": "%"}, {"file_data": "data:x,y"}])
def test_a_file_of_a_chat_that_cannot_be_read_is_refused(file):
    said = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    tools = [{"type": "code_interpreter"}]
    with pytest.raises(RequestError, match=r"messages\[0\].content\[0\].file"):
        chat.parse(chat_body(messages=said, tools=tools), rules="openai")


@pytest.mark.parametrize("template", [{"enable_thinking": False}, {"other": 1}])
async def test_what_a_client_says_of_the_template_is_joined_with_this_servers(template):
    seen = []

    def answer(request):
        seen.append(json.loads(request.content))
        done = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
        return httpx2.Response(200, text=f"data: {json.dumps(done)}\n\n")

    endpoint = Endpoint(url="http://upstream.test/v1", thinking_field="chat_template_kwargs")
    model = OpenAICompatible(endpoint, transport=httpx2.MockTransport(answer))
    body = chat_body(enable_thinking=True, chat_template_kwargs=template)
    async for _ in model.stream(chat.parse(body, rules="openai")[0].model_request()):
        pass
    assert seen[0]["chat_template_kwargs"] == {"enable_thinking": True, **template}


@pytest.mark.parametrize("tools", [[], [{"type": "function", **FUNCTION}]])
def test_a_choice_of_a_tool_that_is_not_offered_is_refused(tools):
    nested = [{"type": "function", "function": FUNCTION} for _ in tools]
    choice = {"type": "function", "name": "other"}
    for parse in (
        lambda: parse_responses(responses_body(tools=tools, tool_choice=choice)),
        lambda: parse_responses(responses_body(tool_choice={"type": "code_interpreter"})),
        lambda: chat.parse(chat_body(tools=nested, tool_choice=choice), rules="openai"),
        lambda: parse_dashscope(tools=nested, tool_choice=choice),
    ):
        with pytest.raises(RequestError, match="not among the tools") as caught:
            parse()
        assert caught.value.param in ("tool_choice", "parameters.tool_choice")


def test_a_choice_of_a_tool_that_is_offered_is_taken():
    choice = {"type": "function", "function": {"name": "look"}}
    nested = [{"type": "function", "function": FUNCTION}]
    assert chat.parse(chat_body(tools=nested, tool_choice=choice))[0].tool_choice == "look"
    assert parse_dashscope(tools=nested, tool_choice=choice).tool_choice == "look"
    interpreter = {"type": "code_interpreter"}
    body = responses_body(tools=[interpreter], tool_choice=interpreter)
    assert parse_responses(body)[0].tool_choice == "code_interpreter"
