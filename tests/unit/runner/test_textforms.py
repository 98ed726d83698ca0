"""Calls and thinking that models write into plain text."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.events import ReasoningDelta, TextDelta
from runner.models.port import UNREADABLE, CallDelta
from runner.models.textforms import Splitter, message_calls
from runner.models.written.thoughts import ThoughtSplitter

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


@pytest.mark.parametrize(
    "text",
    ["<tool_call>print(1)</tool_call>", '<tool_call>{"name": "code_interpreter", "argu',
     "<tool_call>\n<function=code_interpreter>\n<parameter=code>\nprint(1)"],
)  # fmt: skip
def test_a_call_that_cannot_be_read_is_told_back_and_never_run(text):
    said, _, calls = split(text)
    assert said == ""
    assert [name for name, _ in calls] == [UNREADABLE]


def test_without_tools_nothing_is_a_call():
    assert split(CALL, tools=()) == (CALL, "", [])


@given(st.text(alphabet='<>/`think tool_cal\n{}":py', max_size=60), st.integers(1, 5))
def test_no_piece_of_text_is_lost_or_made_up_without_a_call(text, size):
    splitter, parts = Splitter(TOOLS), []
    for at in range(0, len(text), size):
        parts += splitter.feed(text[at : at + size])
    parts += splitter.finish()
    if not splitter.calls and "think>" not in text:
        assert "".join(part.text for part in parts) == text


def test_arguments_given_as_text_or_under_another_name_are_taken():
    wanted = [("web_search", '{"query":"x"}')]
    assert message_calls('{"name":"web_search","parameters":{"query":"x"}}', TOOLS) == wanted
    nested = json.dumps({"function": {"name": "web_search", "arguments": '{"query":"x"}'}})
    assert message_calls(nested, TOOLS) == wanted
    assert message_calls(f"{nested};\n{nested}", TOOLS) == wanted * 2
    assert message_calls(f"[{nested}, {nested}]", TOOLS) == wanted * 2
    assert message_calls(f'{{"tool_calls": [{nested}]}}', TOOLS) == wanted
    assert message_calls(f"{nested} is how", TOOLS) == []
    assert message_calls('{"name": "web_search"}', TOOLS) == []
    assert message_calls('{"name": "launch", "arguments": {}}', TOOLS) == []


# ---- forms that models were taught --------------------------------------------------------------

XML = "<function=code_interpreter>\n<parameter=code>\n1+1\n</parameter>\n</function>"
DEEP = "<｜tool▁call▁begin｜>{}<｜tool▁call▁end｜>"
MORE = "<tool_call>\n{}\n</tool_call>"
FORMS = {  # family: text, calls
    "Hermes": (MORE.format(CALL), ONE),
    "Hermes, two in one tag": (MORE.format(f"{CALL}\n{CALL}"), ONE * 2),
    "Hermes, a list": (MORE.format(f"[{CALL}, {CALL}]"), ONE * 2),
    "Hermes, no line ends": (f"<tool_call>{CALL}</tool_call>" * 2, ONE * 2),
    "Qwen3-Coder": (MORE.format(XML), ONE),
    "Qwen3-Coder, two": (f"{MORE.format(XML)}\n{MORE.format(XML)}", ONE * 2),
    "Qwen3-Coder, no outer tag": (f"{XML}\n</tool_call>", ONE),
    "Qwen3-Coder, no outer tags": (XML, ONE),
    "Qwen3-Coder, a parameter left open": (
        MORE.format(XML.replace("</parameter>\n", "")), [(UNREADABLE, None)]),
    "Llama, a function tag": ('<function=code_interpreter>{"code": "1+1"}</function>', ONE),
    "Llama, code": ("<|python_tag|>1+1<|eom_id|>", ONE),
    "Llama, code without an end": ("<|python_tag|>1+1", ONE),
    "Llama, JSON": (f"<|python_tag|>{CALL}", ONE),
    "Llama, a built-in": ('<|python_tag|>web_search.call(query="x")',
                          [("web_search", '{"query":"x"}')]),
    "Llama 3.1, the message": (
        '{"type": "function", "name": "code_interpreter", "parameters": {"code": "1+1"}}', ONE),
    "Mistral, a list": (f"[TOOL_CALLS][{CALL}]", ONE),
    "Mistral, two": (f"[TOOL_CALLS] [{CALL}, {CALL}]</s>", ONE * 2),
    "Mistral, by name": ('[TOOL_CALLS]code_interpreter[ARGS]{"code": "1+1"}', ONE),
    "Mistral, by name, two": ('[TOOL_CALLS]code_interpreter[CALL_ID]a1[ARGS]{"code": "1+1"}'
                              '[TOOL_CALLS]code_interpreter[ARGS]{"code": "1+1"}', ONE * 2),
    "Mistral, name and object": ('[TOOL_CALLS]code_interpreter{"code": "1+1"}', ONE),
    "DeepSeek V3": ("<｜tool▁calls▁begin｜>" + DEEP.format(
        'function<｜tool▁sep｜>code_interpreter\n```json\n{"code": "1+1"}\n```')
        + "<｜tool▁calls▁end｜>", ONE),
    "DeepSeek V3.1": ("<｜tool▁calls▁begin｜>" + DEEP.format(
        'code_interpreter<｜tool▁sep｜>{"code": "1+1"}') * 2 + "<｜tool▁calls▁end｜>", ONE * 2),
    "DeepSeek, inner tag": (DEEP.format('code_interpreter<｜tool▁sep｜>{"code": "1+1"}'), ONE),
    "DeepSeek V3.2": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="code_interpreter">\n'
        '<｜DSML｜parameter name="code" string="true">1+1</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>", ONE),
    "Kimi K2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.code_interpreter:0"
        '<|tool_call_argument_begin|>{"code": "1+1"}<|tool_call_end|><|tool_calls_section_end|>',
        ONE),
    "Nemotron": (f"<TOOLCALL>[{CALL}]</TOOLCALL>", ONE),
    "Glaive": (f"<functioncall> {CALL} </functioncall>", ONE),
    "one call in XML": (f"<function_call>{CALL}</function_call>", ONE),
    "XML without the outer tag": (
        '<invoke name="code_interpreter">\n<parameter name="code">1+1</parameter>\n</invoke>', ONE),
    "Phi-4-mini, closed": (f"<|tool_call|>[{CALL}]<|/tool_call|>", ONE),
    "gpt-oss": ("<|channel|>commentary to=functions.code_interpreter <|constrain|>json<|message|>"
                '{"code": "1+1"}<|call|>', ONE),
    "gpt-oss, the tool first": (
        "<|start|>assistant to=functions.code_interpreter<|channel|>commentary<|message|>"
        '{"code": "1+1"}<|call|>', ONE),
    "gpt-oss, bare code": ("<|channel|>analysis to=code_interpreter code<|message|>1+1<|call|>",
                           ONE),
    "GLM": (MORE.format("code_interpreter\n<arg_key>code</arg_key>\n"
                        "<arg_value>1+1</arg_value>"), ONE),
    "XML": ('<function_calls>\n<invoke name="code_interpreter">\n<parameter name="code">1+1'
            "</parameter>\n</invoke>\n</function_calls>", ONE),
    "MiniMax": ('<minimax:tool_call>\n<invoke name="code_interpreter">\n<parameter name="code">1+1'
                "</parameter>\n</invoke>\n</minimax:tool_call>", ONE),
    "Granite": (f"<|tool_call|>[{CALL}]", ONE),
    "behind a sentence": (f"I run it.{MORE.format(CALL)}", ONE),
    "behind thinking": (f"<think>hm</think>\n\n{MORE.format(XML)}", ONE),
    "an unknown tool": (MORE.format('{"name": "launch", "arguments": {}}'), [("launch", "{}")]),
}  # fmt: skip


@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize("sizes", [(1000,), (1,), (5, 2)])
def test_each_familys_form_is_a_call(family, sizes):
    text, wanted = FORMS[family]
    said, _, calls = split(text, sizes)
    assert [name for name, _ in calls] == [name for name, _ in wanted]
    assert all(one == two for one, two in zip(calls, wanted, strict=True) if two[1] is not None)
    assert "<" not in said
    assert "[" not in said


SPOKEN = {
    "a fence": f"So it looks:\n```xml\n{MORE.format(XML)}\n```\n",
    "a fence of tildes": f"~~~\n{MORE.format(CALL)}\n~~~\nSee?",
    "a fence of JSON": f"```json\n{CALL}\n```",
    "a fence without an end": f"```\n{MORE.format(XML)}",
    "inline code": f"Write `<tool_call>{CALL}</tool_call>` to call.",
    "a sentence": f"I would write <tool_call>{CALL}</tool_call> for that.",
    "a sentence that begins with it": f"<tool_call>{CALL}</tool_call> is the form.",
    "the tag's name": "The <tool_call> tag and the </tool_call> tag.",
    "the tag's name, first": "<tool_call> is the tag that I use.",
    "a function's name": "<function=code_interpreter> opens it.",
    "a quotation": f"> <tool_call>{CALL}</tool_call>\n",
    "an indented block": f"For example:\n\n    <tool_call>{CALL}</tool_call>\n",
    "a token's name": "Mistral writes [TOOL_CALLS] before its calls.",
    "gpt-oss's token": "It writes <|channel|>final<|message|> before the answer.",
    "gpt-oss's name of one": "<|channel|> is a token of gpt-oss.",
    "an invocation's name": "The tag <invoke name=...> opens it.",
    "Nemotron's name": "A <TOOLCALL> is Nemotron's.",
    "JSON that is the answer": '{"answer": 42}',
    "JSON with words behind it": f"{CALL} would call it.",
    "a list": "[1, 2, 3]",
}


@pytest.mark.parametrize("how", SPOKEN)
@pytest.mark.parametrize("sizes", [(1000,), (1,), (5, 2)])
def test_what_is_quoted_or_spoken_of_is_text(how, sizes):
    said, thought, calls = split(SPOKEN[how], sizes)
    assert (said, thought, calls) == (SPOKEN[how], "", [])


def test_values_between_tags_have_the_types_of_the_schema():
    schema = {"properties": {"n": {"type": "integer"}, "on": {"type": "boolean"},
                             "at": {"type": ["array"]}, "q": {"type": "string"}}}  # fmt: skip
    tags = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n"
        for key, value in {"n": "3", "on": "True", "at": "[1]", "q": "3"}.items()
    )
    events = []
    splitter = Splitter({"look": schema})
    events += splitter.feed(f"<function=look>\n{tags}</function>")
    events += splitter.finish()
    assert json.loads(events[0].arguments) == {"n": 3, "on": True, "at": [1], "q": "3"}


# ---- thinking without its opening tag -----------------------------------------------------------


def thoughts(text, size, **options):
    splitter, parts = ThoughtSplitter(**options), []
    for at in range(0, len(text), size):
        parts += splitter.feed(text[at : at + size])
    parts += splitter.finish()
    said = "".join(part.text for part in parts if not part.is_thought)
    return said, "".join(part.text for part in parts if part.is_thought), splitter


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Six times seven.\n</think>\n\nIt is 42.", ("It is 42.", "Six times seven.\n")),
        ("Six times seven.</think>It is 42.", ("It is 42.", "Six times seven.")),
        ("hm [/THINK]\n42", ("42", "hm ")),
        ("<think>hm</think>42", ("42", "hm")),
        ("[THINK]hm[/THINK]42", ("42", "hm")),
        ("\n<think>\n</think>\n\n42", ("42", "\n")),
        ("<Think>hm</THINK>42", ("42", "hm")),
        ("<think>a</think>So.\n<think>b</think>\n42", ("So.\n42", "ab")),
        ("So.\n<think>b</think>\n42", ("So.\n42", "b")),
        ("So:\n<think> opens it.", ("So:\n<think> opens it.", "")),
        ("So:\n```\n<think>b</think>\n```\n", ("So:\n```\n<think>b</think>\n```\n", "")),
        ("A <think>b</think> pair.", ("A <think>b</think> pair.", "")),
        ("No thinking here.", ("No thinking here.", "")),
        ("The `</think>` tag closes it.", ("The `</think>` tag closes it.", "")),
        ("The </think> tag closes it.", ("The </think> tag closes it.", "")),
        ('Write "</think>" there.', ('Write "</think>" there.', "")),
        ("```\nhm\n</think>\n```\n", ("```\nhm\n</think>\n```\n", "")),
    ],
)
def test_a_closing_tag_alone_ends_thinking_and_one_that_is_spoken_of_does_not(text, size, wanted):
    said, thought, splitter = thoughts(text, size, holds=True)
    assert (said, thought) == wanted
    assert splitter.has_lone_close == (bool(thought) and "<think>" not in text.lower()
                                       and "[THINK]" not in text)  # fmt: skip


def test_text_that_was_let_out_shows_no_tag_all_the_same():
    splitter = ThoughtSplitter(holds=True)
    assert list(splitter.feed("Six times")) == []
    assert splitter.is_holding
    parts = [*splitter.release(), *splitter.feed(" seven.\n</thi"), *splitter.feed("nk>\n\n42")]
    parts += splitter.finish()
    assert "".join(part.text for part in parts) == "Six times seven.\n42"
    assert splitter.has_lone_close


def test_a_template_that_opens_thinking_is_believed():
    splitter = ThoughtSplitter(opened=True)
    assert list(splitter.feed("Six ")) == [(True, "Six ")]
    assert list(splitter.feed("seven</think>\n42")) == [(True, "seven"), (False, "42")]


LONG = 100_000
HOSTILE = {
    "spaces in a parameter": "<function=code_interpreter>\n<parameter=code>" + " " * LONG,
    "parameters without end": "<function=code_interpreter>\n" + "<parameter=a>" * (LONG // 13),
    "invokes without end": "<function_calls>" + '<invoke name="a">' * (LONG // 17),
    "keys without end": "<tool_call>x<arg_key>" + " " * LONG + "<arg_key>" * (LONG // 9),
    "a name without end": "<｜tool▁call▁begin｜>" + "a" * LONG + "<｜tool▁sep｜>",
    "calls without end": "<|tool_calls_section_begin|>" + "<|tool_call_begin|>a" * (LONG // 20),
    "spaces behind a fence": '<tool_call>```json\n{"name": "x"}' + " " * LONG + "```x",
    "brackets": "<tool_call>" + "[" * LONG,
    "a list": "[TOOL_CALLS]" + "[" * LONG,
    "ticks": "`" * LONG + "<tool_call>",
    "tags": "<tool_call>\n" * (LONG // 12),
    "a block of thinking without end": "So.\n<think>" + "a </thin" * (LONG // 8),
    "openings": "So.\n" + "<think>\n" * (LONG // 8),
    "gpt-oss without end": "<|channel|>commentary to=a<|message|>" + "<|en" * (LONG // 4),
    "heads of gpt-oss": "<|channel|>" * (LONG // 11),
    "closings": "</think> " * (LONG // 9),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_no_text_takes_long_to_read(how):
    text = HOSTILE[how] + "</tool_call></function_calls>"
    began = time.process_time()
    split(text, (40,))
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    "text",
    [
        'Action: ```json\n{"name": "Bob", "arguments": 3}\n```\nThat is it.',
        'functools[{"name": "Bob"}]',
        "functools[partial]",
        "[code_interpreter, web_search]",
        '[launch(code="1")]',
        "```\n<seed:tool_call><function=code_interpreter>{}</function></seed:tool_call>\n```",
        "```\n<|START_ACTION|>[]<|END_ACTION|>\n```",
        "Qwen writes `✿FUNCTION✿: name` and `✿ARGS✿: {}`.",
        "```tool_code\nprint(1)\n```",
    ],
)
@pytest.mark.parametrize("sizes", [(1000,), (1,)])
def test_what_only_looks_like_a_call_is_text(text, sizes):
    said, _, calls = split(text, sizes)
    assert (said, calls) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        '[code_interpreter(code="1+1")]',
        '<function_calls>\ncode_interpreter(code="1+1")\n</function_calls>',
        '<|tool_call_start|>[code_interpreter(code="1+1")]<|tool_call_end|>',
        'functools[{"name": "code_interpreter", "arguments": {"code": "1+1"}}]',
    ],
)
@pytest.mark.parametrize("sizes", [(1000,), (1,), (3, 1, 7)])
def test_a_call_in_the_notation_of_python_is_one(text, sizes):
    assert split(text, sizes) == ("", "", ONE)


@pytest.mark.parametrize(
    "text",
    [
        "<start_function_call>call:f{" + "a:<escape>" * 9_000 + "<end_function_call>",
        "<start_function_call>call:f{" + "}   " * 20_000 + "<end_function_call>",
        "✿FUNCTION✿: a\n✿ARGS✿: {}\n" * 5_000,
        "<|python_start|>" + "[" * 50_000 + "<|python_end|>",
        "[code_interpreter(" * 5_000,
        "<tool_call>" + "a<tool_sep>" * 9_000 + "</tool_call>",
    ],
)
def test_no_notation_takes_long_to_read(text):
    began = time.process_time()
    split(text, (64,))
    assert time.process_time() - began < 5
