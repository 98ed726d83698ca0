"""Parts of a question reach the model in their order, with all that the client said of them."""

import base64

import pytest

from runner.dialects import chat, responses
from runner.errors import RequestError
from runner.models.upstream.request_json import messages_of
from runner.transcript import Question

URL = "data:image/png;base64,AAAA"


def sent_by_chat(content, role="user"):
    body = {"model": "m", "messages": [{"role": role, "content": content}]}
    return next(messages_of(chat.parse(body)[0].entries))["content"]


def sent_by_responses(content, **more):
    body = {"model": "m", "input": [{"role": "user", "content": content}], **more}
    parsed, options = responses.parse(body, lookup=lambda _: None)
    return next(messages_of(parsed.entries))["content"], options


def text(value):
    return {"type": "text", "text": value}


def image(**more):
    return {"type": "image_url", "image_url": {"url": URL, **more}}


@pytest.mark.parametrize(
    "content",
    [
        [text("a"), image(detail="low"), text("b")],
        [image(), text("a")],
        [text("a"), {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}],
        [text("a"), {"type": "file", "file": {"filename": "a.pdf", "file_data": "AA"}}],
    ],
)
def test_chat_parts_keep_their_order_and_their_fields(content):
    assert sent_by_chat(content) == content


def test_texts_alone_are_one_text():
    assert sent_by_chat([text("a"), text("b")]) == "ab"
    assert sent_by_chat("ab") == "ab"
    assert chat.parse(
        {"model": "m", "messages": [{"role": "user", "content": [text("a"), image()]}]}
    )[0].entries == (Question(text="a", images=(URL,)),)


def test_responses_parts_become_those_of_chat():
    sent, options = sent_by_responses([
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": URL, "detail": "high"},
        {"type": "input_text", "text": "b"},
    ])  # fmt: skip
    assert sent == [text("a"), image(detail="high"), text("b")]
    assert [file.filename for file in options.inline_files] == ["image_1.png"]


def test_a_file_goes_into_the_container_or_to_the_model():
    data = base64.b64encode(b"x").decode()
    file = {"type": "input_file", "filename": "a.csv", "file_data": data}
    sent, _ = sent_by_responses([{"type": "input_text", "text": "a"}, file])
    assert sent[1] == {"type": "file", "file": {"filename": "a.csv", "file_data": data}}
    tools = [{"type": "code_interpreter"}]
    sent, options = sent_by_responses([{"type": "input_text", "text": "a"}, file], tools=tools)
    assert (sent, options.inline_files[0].data) == ("a", b"x")


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_file", "file_id": "file-1"}, "file_id"),
        ({"type": "input_file", "file_url": "https://example.org/a"}, "file_url"),
        ({"type": "input_file"}, "file_id"),
        ({"type": "input_image"}, "image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "file_id"),
        ({"type": "input_image", "image_url": URL, "detail": "huge"}, "detail"),
        ({"type": "input_smell"}, "type"),
    ],
)
def test_a_part_that_cannot_reach_the_model_is_refused_by_name(part, param):
    with pytest.raises(RequestError) as caught:
        sent_by_responses([part])
    assert caught.value.param == f"input[0].content[0].{param}"


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_pictures_have_no_place_in_other_roles(role):
    with pytest.raises(RequestError) as caught:
        sent_by_chat([text("a"), image()], role)
    assert caught.value.param == "messages[0].content[1].type"


def test_a_reference_is_kept_as_what_it_names():
    item = {"type": "message", "id": "msg_1", "role": "user", "content": "Hello?"}
    body = {"model": "m", "input": [{"type": "item_reference", "id": "msg_1"}, item | {"id": "b"}]}
    _, options = responses.parse(body, lookup={"msg_1": item}.get)
    assert [one["id"] for one in options.input_items] == ["msg_1", "b"]
    assert {one["type"] for one in options.input_items} == {"message"}
    kept = [{"type": "item_reference", "id": "gone"}, item]
    assert responses.replay(kept).entries == (Question(text="Hello?"),)
    with pytest.raises(RequestError):
        responses.replay(kept, is_kept=False)
