"""Arguments that models nearly get right."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tools.arguments import StringStream, read
from runner.transcript import encodable


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"code": "1+1"}', "1+1"),
        ('{"code": "print(1)\nprint(2)"}', "print(1)\nprint(2)"),
        ('{"code": "re.match(\'\\d+\', s)"}', "re.match('\\d+', s)"),
        ("{code: '1+1'}", "1+1"),
        ("{'code': 'x = 1'}", "x = 1"),
        ('{"code": "1+1"', "1+1"),
        ('{"code": "print(1', "print(1"),
        ('"{\\"code\\": \\"1+1\\"}"', "1+1"),
        ('"1+1"', "1+1"),
        ("print(1)", "print(1)"),
        ("```python\nprint(1)\n```", "print(1)"),
        ('```json\n{"code": "print(1)"}\n```', "print(1)"),
        ('{"code": "a"} trailing words', "a"),
        ('{"note": "n", "code": "b"}', "b"),
        ('{"code": "first", "code": "second"}', "first"),
    ],
)
def test_what_can_be_understood_is_understood(text, code):
    assert read(text, main="code").values["code"] == code


@pytest.mark.parametrize(
    "text", ["", "   ", "[1, 2", "[1, 2]", "17", "null", '{"other": 1', "{" * 5000, '["' * 3000]
)
def test_what_cannot_is_reported_in_words(text):
    found = read(text, main="code")
    assert not isinstance(found.values.get("code"), str)
    assert found.problem or "code" not in found.values


@given(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.booleans(),
    st.lists(st.integers(1, 7), min_size=1),
)
def test_a_string_is_the_same_however_its_json_is_cut(value, ascii_only, sizes):
    text = json.dumps({"code": value, "more": 1}, ensure_ascii=ascii_only)
    stream, given_out, at, turn = StringStream("code"), "", 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        given_out += stream.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    assert given_out == stream.value == encodable(json.loads(text)["code"])
    assert stream.has_ended


@given(st.text())
def test_no_text_makes_the_reader_fail(text):
    found = read(text, main="code")
    assert bool(found.problem) != bool(found.values) or not found.values


def test_an_object_that_begins_with_another_key_gives_out_nothing():
    stream = StringStream("code")
    assert stream.feed('{"note": "x", "code": "y"}') == ""
    assert stream.has_ended
    assert not stream.has_begun
