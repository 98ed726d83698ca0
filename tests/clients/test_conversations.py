"""Conversations, stored responses and counts of tokens, with the official Python client."""

import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, TalkModel, directory, serving
from talking import ONE_CALL, PLOT, STATE_1, STATE_2, TALKS

TOOLS = [{"type": "code_interpreter"}]


@pytest.fixture(scope="module")
def server():
    with serving(directory(TalkModel(TALKS))) as running:
        yield running


@pytest.fixture
def asking(server):
    return OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)


def ask(asking, question, **more):
    return asking.responses.create(model=MODEL, input=question, tools=TOOLS, **more)


def test_a_conversation_is_made_described_and_deleted(asking):
    made = asking.conversations.create(
        metadata={"topic": "x"}, items=[{"role": "user", "content": "Hello."}]
    )
    assert (made.object, made.metadata) == ("conversation", {"topic": "x"})
    assert asking.conversations.retrieve(made.id) == made
    changed = asking.conversations.update(made.id, metadata={"topic": "y"})
    assert (changed.id, changed.metadata) == (made.id, {"topic": "y"})
    assert asking.conversations.delete(made.id).object == "conversation.deleted"
    with pytest.raises(openai.NotFoundError):
        asking.conversations.retrieve(made.id)


def test_items_are_added_listed_in_pages_fetched_and_taken_out(asking):
    talk = asking.conversations.create()
    words = [{"role": "user", "content": f"Number {n}."} for n in range(5)]
    added = asking.conversations.items.create(talk.id, items=words)
    ids = [item.id for item in added.data]
    assert [item.content[0].text for item in added.data] == [word["content"] for word in words]
    listed = asking.conversations.items.list(talk.id, limit=2, order="asc")
    assert [item.id for item in listed] == ids
    assert [item.id for item in asking.conversations.items.list(talk.id, limit=2)] == ids[::-1]
    found = asking.conversations.items.retrieve(ids[2], conversation_id=talk.id)
    assert (found.role, found.status, found.content[0].text) == ("user", "completed", "Number 2.")
    assert asking.conversations.items.delete(ids[2], conversation_id=talk.id).id == talk.id
    with pytest.raises(openai.NotFoundError):
        asking.conversations.items.retrieve(ids[2], conversation_id=talk.id)
    with pytest.raises(openai.BadRequestError):
        asking.conversations.items.list(talk.id, after=ids[2])


def test_a_response_goes_on_from_its_conversation_and_is_added_to_it(asking):
    talk = asking.conversations.create()
    first = ask(asking, STATE_1, conversation=talk.id)
    assert first.conversation.id == talk.id
    second = ask(asking, STATE_2, conversation={"id": talk.id})
    (call,) = [item for item in second.output if item.type == "code_interpreter_call"]
    assert call.outputs[0].logs == "42"
    kinds = [item.type for item in asking.conversations.items.list(talk.id, order="asc")]
    one = ["message", "reasoning", "code_interpreter_call", "message"]
    assert kinds == [*one, *one]


def test_what_the_model_is_asked_holds_the_whole_conversation(server, asking):
    talk = asking.conversations.create(
        items=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": STATE_1},
            {"role": "assistant", "content": "I keep 41."},
        ]
    )
    ask(asking, ONE_CALL, conversation=talk.id, instructions="Think.")
    asked = server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests[0]
    texts = [entry.text for entry in asked.entries]
    assert texts == ["Think.", "Be brief.", STATE_1, "I keep 41.", ONE_CALL]


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": [{"role": "nobody", "content": "x"}]},
        {"items": [{"type": "spell"}]},
        {"items": [{"role": "user", "content": "x"}] * 21},
        {"metadata": {"x": "y" * 513}},
    ],
)
def test_a_conversation_that_no_response_could_read_is_400(asking, wrong):
    with pytest.raises(openai.BadRequestError):
        asking.conversations.create(**wrong)


def test_an_unknown_conversation_and_one_beside_a_previous_response_are_refused(asking):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(asking, ONE_CALL, conversation="conv_nothing")
    assert caught.value.param == "conversation"
    first, talk = ask(asking, STATE_1), asking.conversations.create()
    with pytest.raises(openai.BadRequestError):
        ask(asking, STATE_2, conversation=talk.id, previous_response_id=first.id)


def test_the_input_of_a_response_is_listed_with_ids_that_can_be_referred_to(asking):
    history = [{"role": "user", "content": STATE_1}, {"role": "assistant", "content": "Yes."}]
    made = ask(asking, [*history, {"role": "user", "content": ONE_CALL}])
    items = list(asking.responses.input_items.list(made.id, order="asc", limit=2))
    assert [item.content[0].text for item in items] == [STATE_1, "Yes.", ONE_CALL]
    assert [item.type for item in items] == ["message"] * 3
    again = ask(asking, [{"type": "item_reference", "id": items[2].id}])
    assert again.output_text == made.output_text
    with pytest.raises(openai.NotFoundError):
        ask(asking, [{"type": "item_reference", "id": "msg_nothing"}])


@pytest.mark.parametrize("reference", [{}, {"type": "item_reference"}, {"type": None}])
def test_a_reference_needs_no_type_and_what_it_names_is_put_into_a_conversation(asking, reference):
    made = ask(asking, ONE_CALL)
    ids = [item.id for item in asking.responses.input_items.list(made.id)]
    again = ask(asking, [{**reference, "id": ids[0]}])
    assert again.output_text == made.output_text
    talk = asking.conversations.create(items=[{**reference, "id": ids[0]}])
    added = asking.conversations.items.create(
        talk.id, items=[{**reference, "id": made.output[-1].id}]
    )
    assert [item.type for item in added.data] == ["message"]
    listed = list(asking.conversations.items.list(talk.id, order="asc"))
    assert [item.content[0].text for item in listed] == [ONE_CALL, made.output_text]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "item_reference"}, "input[0].id"),
        ({"type": "function_call_output", "call_id": "c",
          "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
         "input[0].output[0].type"),
    ],
)  # fmt: skip
def test_what_no_model_would_get_to_see_is_refused_by_name(asking, item, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(asking, [item, {"role": "user", "content": "And?"}])
    assert caught.value.param == param


def test_tokens_of_the_input_are_counted_and_nothing_runs(server, asking):
    counted = asking.responses.input_tokens.count(model=MODEL, input=ONE_CALL, tools=TOOLS)
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", 341)
    asked = server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests[-1]
    assert asked.max_tokens == 1
    assert [tool.name for tool in asked.tools] == ["code_interpreter"]
    with pytest.raises(openai.NotFoundError):
        asking.responses.input_tokens.count(model=MODEL, input=PLOT, conversation="conv_nothing")
