"""Calls and thinking that models write into plain text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events import ReasoningDelta, TextDelta
from runner.models.port import CallDelta
from runner.models.textforms import Splitter, named_call

TOOLS = ("code_interpreter", "web_search")
CALL = '{"name": "code_interpreter", "arguments": {"code": "1+1"}}'


def split(text, sizes=(1000,), *, fenced=False, tools=TOOLS):
    """(text, thinking, calls) of a turn that arrives in pieces."""
    splitter, events, at, turn = Splitter(tools, fenced=fenced), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        events += splitter.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    events += splitter.finish()
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    thought = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    calls = [(event.name, event.arguments) for event in events if isinstance(event, CallDelta)]
    return said, thought, calls


ONE = [("code_interpreter", '{"code":"1+1"}')]


@pytest.mark.parametrize(
    ("text", "fenced", "wanted"),
    [
        ("just text", False, ("just text", "", [])),
        ("<think>hm</think>\nYes.", False, ("Yes.", "hm", [])),
        ("a < b and <thinkers> do", False, ("a < b and <thinkers> do", "", [])),
        (f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>", False, ("Let me see.", "", ONE)),
        (f"<think>a</think><tool_call>{CALL}</tool_call>", False, ("", "a", ONE)),
        (f"<tool_call>{CALL}", False, ("", "", ONE)),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", False,
         ("", "", [*ONE, *ONE])),
        (CALL, False, ("", "", ONE)),
        ('{"a": 1} is JSON', False, ('{"a": 1} is JSON', "", [])),
        ('{"name": "launch", "arguments": {}}', False,
         ('{"name": "launch", "arguments": {}}', "", [])),
        ("```python\nprint(1)\n```\n", False, ("```python\nprint(1)\n```\n", "", [])),
        ("So:\n```python\n1+1\n```\nOutput: 3", True, ("So:", "", ONE)),
        ("```py\n1+1\n```", True, ("", "", ONE)),
        ("```python\n1+1", True, ("", "", ONE)),
        ("```json\n{}\n```\nfine", True, ("```json\n{}\n```\nfine", "", [])),
        ("````python\n1+1\n````\n", True, ("", "", ONE)),
        ("use `x` and ``y``", True, ("use `x` and ``y``", "", [])),
        ("<tool_call>{'name': 'code_interpreter', 'arguments': {'code': '1+1'}}</tool_call>",
         False, ("", "", ONE)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sizes", [(1000,), (1,), (3, 1, 7)])
def test_each_form_is_read_the_same_however_it_arrives(text, fenced, wanted, sizes):
    assert split(text, sizes, fenced=fenced) == wanted


def test_a_call_that_cannot_be_read_is_told_back_as_one():
    said, _, calls = split("<tool_call>print(1)</tool_call>")
    assert (said, calls) == ("", [("code_interpreter", "print(1)")])


def test_without_tools_nothing_is_a_call():
    assert split(CALL, tools=()) == (CALL, "", [])


@given(st.text(alphabet='<>/`think tool_cal\n{}":py', max_size=60), st.integers(1, 5))
def test_no_piece_of_text_is_lost_or_made_up_without_a_call(text, size):
    splitter, parts = Splitter(TOOLS), []
    for at in range(0, len(text), size):
        parts += splitter.feed(text[at : at + size])
    parts += splitter.finish()
    if not splitter.calls and "<think>" not in text:
        assert "".join(part.text for part in parts) == text


def test_arguments_given_as_text_or_under_another_name_are_taken():
    assert named_call('{"name":"web_search","parameters":{"query":"x"}}', TOOLS) == (
        "web_search", '{"query":"x"}',
    )  # fmt: skip
    nested = json.dumps({"function": {"name": "web_search", "arguments": '{"query":"x"}'}})
    assert named_call(nested, TOOLS) == ("web_search", '{"query":"x"}')
