"""Every field inside of messages, parts, items and tools is read, passed on or refused by name.

The fields are those of the installed client library, so a new one fails here until it is placed.
"""

import typing

import pytest
from openai.types import chat as chat_types
from openai.types import responses as response_types
from openai.types import shared_params
from openai.types.responses import tool_param

from runner.dialects import chat, responses
from runner.dialects.schema_fields import (
    REFUSED_IN_CALLS,
    REFUSED_IN_FILES,
    REFUSED_IN_FUNCTIONS,
    REFUSED_IN_INTERPRETERS,
    REFUSED_IN_MESSAGES,
    REFUSED_IN_PARTS,
    REFUSED_IN_REASONING,
    REFUSED_IN_SEARCHES,
)
from runner.errors import RequestError
from runner.models.upstream.request_json import messages_of

USER = [{"role": "user", "content": "Hello?"}]
KEPT = {"id", "status", "phase", "annotations", "logprobs"}
"""Fields that say something of an item, and nothing to the model: kept in the list of the input."""
INTERPRETER = tool_param.CodeInterpreter
AUTO = tool_param.CodeInterpreterContainerCodeInterpreterToolAuto
INNER = {  # kind: fields that are read, those that are refused
    chat_types.ChatCompletionSystemMessageParam: ({"role", "content", "name"}, {}),
    chat_types.ChatCompletionDeveloperMessageParam: ({"role", "content", "name"}, {}),
    chat_types.ChatCompletionUserMessageParam: ({"role", "content", "name"}, {}),
    chat_types.ChatCompletionAssistantMessageParam: (
        {"role", "content", "name", "refusal", "tool_calls", "function_call"}, REFUSED_IN_MESSAGES),
    chat_types.ChatCompletionToolMessageParam: ({"role", "content", "tool_call_id"}, {}),
    chat_types.ChatCompletionFunctionMessageParam: ({"role", "content", "name"}, {}),
    chat_types.ChatCompletionContentPartTextParam: ({"type", "text"}, REFUSED_IN_PARTS),
    chat_types.ChatCompletionContentPartImageParam: ({"type", "image_url"}, REFUSED_IN_PARTS),
    chat_types.ChatCompletionContentPartInputAudioParam: (
        {"type", "input_audio"}, REFUSED_IN_PARTS),
    chat_types.ChatCompletionContentPartRefusalParam: ({"type", "refusal"}, {}),
    shared_params.FunctionDefinition: ({"name", "description", "parameters", "strict"}, {}),
    response_types.EasyInputMessageParam: ({"type", "role", "content"}, {}),
    response_types.ResponseOutputMessageParam: ({"type", "role", "content"}, {}),
    response_types.ResponseInputTextParam: ({"type", "text"}, REFUSED_IN_PARTS),
    response_types.ResponseInputImageParam: (
        {"type", "detail", "file_id", "image_url"}, REFUSED_IN_PARTS),
    response_types.ResponseInputFileParam: (
        {"type", "file_data", "file_id", "filename", "file_url"}, REFUSED_IN_FILES),
    response_types.ResponseOutputTextParam: ({"type", "text"}, {}),
    response_types.ResponseOutputRefusalParam: ({"type", "refusal"}, {}),
    response_types.ResponseFunctionToolCallParam: (
        {"type", "call_id", "name", "arguments"}, REFUSED_IN_CALLS),
    response_types.FunctionToolParam: (
        {"type", "name", "description", "parameters", "strict"}, REFUSED_IN_FUNCTIONS),
    INTERPRETER: ({"type", "container"}, REFUSED_IN_INTERPRETERS),
    AUTO: ({"type", "file_ids", "memory_limit", "network_policy"}, {}),
    response_types.WebSearchToolParam: ({"type"}, REFUSED_IN_SEARCHES),
    response_types.WebSearchPreviewToolParam: ({"type"}, REFUSED_IN_SEARCHES),
    shared_params.Reasoning: ({"effort", "summary", "generate_summary"}, REFUSED_IN_REASONING),
}  # fmt: skip


@pytest.mark.parametrize("kind", INNER, ids=lambda kind: kind.__name__)
def test_every_inner_field_is_placed(kind):
    read, refused = INNER[kind]
    assert set(typing.get_type_hints(kind)) - read - set(refused) - KEPT == set()
    assert not read & set(refused)


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
ASKING = {"allowed_callers": ["programmatic"], "async": True, "defer_loading": True,
          "external_web_access": False, "search_context_size": "low", "context": "all_turns",
          "mode": "pro", "search_content_types": ["image"], "namespace": "x"}  # fmt: skip


def asked(**more):
    return {"model": "m", "input": "Hello?", **more}


def in_part(more, kind="input_text", **fields):
    return asked(input=[{"role": "user", "content": [{"type": kind, **fields, **more}]}])


PLACES = {  # where a field is refused: its table, the request with it, its name's beginning
    "a function": (REFUSED_IN_FUNCTIONS, lambda more: asked(
        tools=[{"type": "function", "name": "f", **more}]), "tools[0]"),
    "the interpreter": (REFUSED_IN_INTERPRETERS, lambda more: asked(
        tools=[{"type": "code_interpreter", **more}]), "tools[0]"),
    "a search": (REFUSED_IN_SEARCHES, lambda more: asked(
        tools=[{"type": "web_search", **more}]), "tools[0]"),
    "reasoning": (REFUSED_IN_REASONING, lambda more: asked(reasoning=more), "reasoning"),
    "a text": (REFUSED_IN_PARTS, lambda more: in_part(more, text="x"), "input[0].content[0]"),
    "a file": (REFUSED_IN_FILES, lambda more: in_part(more, "input_file", file_data="eA=="),
               "input[0].content[0]"),
    "a call": (REFUSED_IN_CALLS, lambda more: asked(input=[{**CALL, **more}]), "input[0]"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "field"), [(place, field) for place in PLACES for field in PLACES[place][0]]
)
def test_responses_refuse_an_inner_field_by_name_and_take_what_asks_for_nothing(place, field):
    table, request, where = PLACES[place]
    with pytest.raises(RequestError) as caught:
        responses.parse(request({field: ASKING.get(field, {"a": 1})}), lookup=lambda _: None)
    assert caught.value.param == f"{where}.{field}"
    for value in (None, *table[field].neutral):
        responses.parse(request({field: value}), lookup=lambda _: None)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        ({"role": "user", "content": [
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
         "messages[0].content[0].prompt_cache_breakpoint"),
        ({"role": "system", "content": [
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
         "messages[0].content[0].prompt_cache_breakpoint"),
    ],
)  # fmt: skip
def test_chat_refuses_an_inner_field_by_name(message, param):
    with pytest.raises(RequestError) as caught:
        chat.parse({"model": "m", "messages": [message, *USER]})
    assert caught.value.param == param


def sent(*messages):
    parsed, _ = chat.parse({"model": "m", "messages": list(messages)})
    return list(messages_of(parsed.entries))


def test_names_of_speakers_reach_the_model():
    talk = [
        {"role": "system", "name": "boss", "content": "Be kind."},
        {"role": "user", "name": "ann", "content": "Hello?"},
        {"role": "assistant", "name": "bot", "content": "Yes?"},
        {"role": "user", "name": "ben", "content": [{"type": "text", "text": "And me?"}]},
    ]
    assert [one["name"] for one in sent(*talk)] == ["boss", "ann", "bot", "ben"]
    both = sent({"role": "system", "name": "law", "content": "No."}, *talk)
    assert both[0] == {"role": "system", "content": "law: No.\n\nboss: Be kind."}


def test_a_call_of_the_old_form_is_answered_by_its_name():
    found = sent(
        *USER,
        {"role": "assistant", "content": None,
         "function_call": {"name": "look", "arguments": "{}"}},
        {"role": "function", "name": "look", "content": "42"},
    )  # fmt: skip
    assert found[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert found[2] == {
        "role": "tool",
        "tool_call_id": found[1]["tool_calls"][0]["id"],
        "content": "42",
    }
