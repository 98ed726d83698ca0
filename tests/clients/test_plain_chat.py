"""Chat as most clients send it: the interpreter without thinking, without a stream, unasked."""

import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, TalkModel, config, directory, serving
from talking import ONE_CALL, POWER, TALKS

from runner.config import KeySettings, ModelSettings
from runner.models.directory import Directory, Served
from runner.models.port import Profile

ALWAYS = "sk-always"
STUDIO = "/compatible-mode/v1"
INTERPRETER = [{"type": "code_interpreter"}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server():
    keys = (KeySettings(key=KEY), KeySettings(key=ALWAYS, interpreter="always"))
    with serving(directory(TalkModel(TALKS)), config(keys=keys)) as running:
        yield running


def chat(server, *, key=KEY, base="/v1", model=MODEL, **more):
    client = OpenAI(base_url=server.origin + base, api_key=key, max_retries=0)
    messages = [{"role": "user", "content": ONE_CALL}]
    return client.chat.completions.create(model=model, messages=messages, **more)


def has_run(server) -> bool:
    """Whether the newest question reached the model with the interpreter."""
    asked = server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests[-1]
    return any(tool.name == "code_interpreter" for tool in asked.tools)


@pytest.mark.parametrize(
    "asked", [{"tools": INTERPRETER}, {"extra_body": {"enable_code_interpreter": True}}]
)
def test_a_request_that_asks_for_code_is_answered_whole(server, asked):
    answer = chat(server, **asked)
    assert answer.choices[0].message.content == f"123 to the 21st power is {POWER}."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 134


def test_a_request_that_asks_for_code_is_streamed(server):
    chunks = list(chat(server, tools=INTERPRETER, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == f"123 to the 21st power is {POWER}."


def test_a_key_that_always_has_the_interpreter_need_not_ask(server):
    assert POWER in chat(server, key=ALWAYS).choices[0].message.content
    assert has_run(server)
    chat(server)
    assert not has_run(server)


def test_the_interpreter_goes_with_functions_of_the_client(server):
    chat(server, tools=[*INTERPRETER, FUNCTION])
    asked = server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests[-1]
    assert {tool.name for tool in asked.tools} == {"code_interpreter", "f"}


def test_who_wants_no_tool_gets_none_even_with_such_a_key(server):
    chat(server, key=ALWAYS, tool_choice="none")
    assert not has_run(server)


def test_a_model_may_have_the_interpreter_always():
    model = TalkModel(TALKS)
    named = Directory(
        {MODEL: ModelSettings(url="http://127.0.0.1:9", interpreter="always")},
        ready={MODEL: Served(model, Profile())},
    )
    with serving(named) as server:
        assert POWER in chat(server).choices[0].message.content
        assert len(model.scripts[ONE_CALL].requests) == 2


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": INTERPRETER}, "tools[0].type"),
        ({"extra_body": {"enable_code_interpreter": True}}, "enable_thinking"),
        (
            {"extra_body": {"enable_code_interpreter": True, "enable_thinking": True}},
            "enable_thinking",
        ),
    ],
)
def test_on_model_studios_own_path_its_rules_stay(server, asked, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(server, base=STUDIO, **asked)
    assert caught.value.param == param


def test_such_a_key_gets_nothing_unasked_on_model_studios_own_path(server):
    chat(server, key=ALWAYS, base=STUDIO)
    assert not has_run(server)


def test_a_container_can_be_named(server):
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
    made = client.containers.create(name="kept")
    chat(server, tools=[{"type": "code_interpreter", "container": made.id}])
    assert client.containers.retrieve(made.id).x_variables == "live"
    with pytest.raises(openai.NotFoundError):
        chat(server, tools=[{"type": "code_interpreter", "container": "cntr_none"}])


def test_files_of_a_chat_are_there_for_the_code(server):
    client = OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)
    file = client.files.create(file=("kept.csv", b"1"), purpose="user_data")
    given = "data:text/csv;base64,Mg=="
    content = [
        {"type": "text", "text": ONE_CALL},
        {"type": "file", "file": {"file_id": file.id}},
        {"type": "file", "file": {"filename": "given.csv", "file_data": given}},
    ]
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": content}], tools=INTERPRETER
    )
    assert POWER in answer.choices[0].message.content
    asked = server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests[-1]
    (tool,) = asked.tools
    assert "kept.csv, given.csv" in tool.description
    content[1]["file"]["file_id"] = "file-none"
    with pytest.raises(openai.NotFoundError, match="file-none"):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": content}], tools=INTERPRETER
        )
