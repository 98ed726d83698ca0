"""Which part of a model's answer is the program."""

import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.evals.samples.answers import (
    completion_in,
    defined_by,
    names_called,
    program_in,
    script_in,
    value_in,
)
from runner.evals.samples.fences import TEXT_CAP

GOOD = "def add_two(n):\n    return n + 2"
BODY = "    return n + 2"
PROMPT = 'def add_two(n):\n    """Give n + 2."""\n'
IN_A_LIST = textwrap.indent(f"```python\n{GOOD}\n```", "   ").lstrip()
DRAFT = "def add_two(n):\n    return n"
WITH_FENCES = '''def add_two(n):
    """Add.

    ```
    add_two(1)
    ```
    """
    return n + 2'''
ANSWERS = {
    "one block": f"```python\n{GOOD}\n```",
    "a shell block behind it": f"Here:\n```python\n{GOOD}\n```\n\nTests:\n\n```bash\npytest\n```\n",
    "a shell block before it": f"First:\n\n```bash\npip list\n```\nThen:\n```python\n{GOOD}\n```",
    "a shell block without a tag": f"```python\n{GOOD}\n```\nRun\n```\npython a.py\n```",
    "an output block behind it": f"```python\n{GOOD}\n```\n\nOutput:\n\n```text\n4\n```\n",
    "an output block without a tag": f"```python\n{GOOD}\n```\n\nOutput:\n\n```\n4\n```\n",
    "a usage example behind it": f"```python\n{GOOD}\n```\nUse:\n```python\nprint(add_two(2))\n```",
    "a session behind it": f"```python\n{GOOD}\n```\n```python\n>>> add_two(2)\n4\n```",
    "a draft before it": f"```python\n{DRAFT}\n```\nThat is wrong:\n```python\n{GOOD}\n```",
    "a cut draft behind it": f"```python\n{GOOD}\n```\nOr:\n```python\ndef add_two(n):\n    ret (",
    "another tag": f"```Python3\n{GOOD}\n```",
    "a tag with a version": f"```python3.11\n{GOOD}\n```",
    "a tag that nobody knows": f"```solver\n{GOOD}\n```",
    "a tag of another language": f"```javascript\n{GOOD}\n```",
    "a tag that is a file": f"```add/two.py\n{GOOD}\n```",
    "a tag with more words": f'```python title="a.py"\n{GOOD}\n```',
    "a tag with attributes": f"``` {{.python .numberLines}}\n{GOOD}\n```",
    "tildes": f"~~~python\n{GOOD}\n~~~",
    "backticks in tildes": f"~~~python\n{GOOD}  # ```\n~~~",
    "four backticks": f"````python\n{GOOD}\n````",
    "a closing that is longer": f"```python\n{GOOD}\n`````",
    "in a list": f"1. The function:\n\n   {IN_A_LIST}\n",
    "in a list within a list": "- a\n  - b\n\n" + textwrap.indent(f"```py\n{GOOD}\n```", "      "),
    "behind a bullet": "- " + textwrap.indent(f"```python\n{GOOD}\n```", "  ").lstrip(),
    "in a quote": textwrap.indent(f"```python\n{GOOD}\n```", "> "),
    "set in from the fence": f"```python\n{textwrap.indent(GOOD, '    ')}\n```",
    "CRLF": f"```python\r\n{GOOD}\r\n```\r\n".replace("2):\n", "2):\r\n"),
    "never closed": f"```python\n{GOOD}",
    "never closed, and words": f"```python\n{GOOD}\n\nThis adds two, as asked.\n",
    "never closed, and another": f"```python\n{GOOD}\n\nUse:\n```python\nprint(add_two(1))\n```",
    "closed behind the code": f"```python\n{GOOD}```\nThis adds two.",
    "only a closing fence": f"{GOOD}\n```",
    "only a closing fence, and words": f"{GOOD}\n```\nThis adds two.\n",
    "words, and only a closing fence": f"Here it is.\n\n{GOOD}\n```\n",
    "fences in a docstring": f"```python\n{WITH_FENCES}\n```",
    "fences in a docstring at the margin": '```python\n"""Add.\n\n```\nadd_two(1)\n```\n"""\n'
    f"{GOOD}\n```\nDone.",
    "fences in a docstring, no fence": WITH_FENCES,
    "a block of Markdown": f"````markdown\nHere:\n```python\n{GOOD}\n```\n````",
    "no fence": GOOD,
    "no fence, words around": f"Sure! Here it is:\n\n{GOOD}\n\nThis adds two to n.",
    "a shell block, code outside": f"{GOOD}\n\n```bash\npytest\n```",
    "thoughts before it": f"<think>\n```python\n{DRAFT}\n```\n</think>\n```python\n{GOOD}\n```",
    "thoughts that were not opened": f"Let me see.\n</think>\n\n```python\n{GOOD}\n```",
    "a fence that is set in": "So:\n\n" + textwrap.indent(f"```python\n{GOOD}\n```", "    "),
    "a fence that is set in by a tab": "So:\n\n" + textwrap.indent(f"```py\n{GOOD}\n```", "\t"),
    "an opening within a sentence": f"Here it is: ```python\n{GOOD}\n```\nIt adds two.",
    "tests behind it": f"```python\n{GOOD}\n```\n```python\ndef test_it():\n"
    "    assert add_two(1) == 3\n```",
    "a mark of the byte order": f"\ufeff```python\n{GOOD}\n```",
}


def run(fields: dict[str, object]) -> int:
    """What the program of a sample gives for 5: these answers are our own."""
    names: dict[str, object] = {}
    exec(str(fields.get("solution") or PROMPT + str(fields.get("completion"))), names)
    found = names["add_two"](5)  # type: ignore[operator]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_the_program_is_found_in_every_shape_of_an_answer(name: str) -> None:
    answer = ANSWERS[name]
    assert defined_by(program_in(answer, ["add_two"])) == {"add_two"}
    assert run({"solution": program_in(answer, ["add_two"])}) == 7
    assert run(dict(completion_in(answer, PROMPT, "add_two"))) == 7


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"a shell block, code outside"}))
def test_the_program_is_found_without_its_name(name: str) -> None:
    assert defined_by(program_in(ANSWERS[name])) >= {"add_two"}


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{BODY}\n```",
        f"```python\n{textwrap.dedent(BODY)}\n```",
        "```python\nm = n\n    m += 2\n    return m\n```",
        f"{BODY}\n```\n",
        f"```python\n{BODY}\n```\nUse:\n```python\nprint(add_two(2))\n```",
        BODY,
        f"{BODY}\n\n\ndef other():\n    return 1\n",
    ],
)
def test_the_rest_of_a_program_goes_behind_its_beginning(answer: str) -> None:
    assert run(dict(completion_in(answer, PROMPT, "add_two"))) == 7


def test_a_completion_that_is_no_answer_stays_as_it_is() -> None:
    for text in ("    return (", "x = (", "", "    return 1\n\nprint('```')\n"):
        assert completion_in(text, PROMPT, "add_two") == {"completion": text}


def test_helpers_of_the_prompt_stand_before_a_whole_program() -> None:
    fields = completion_in(f"```python\n{GOOD}\n```", "import math\n\n" + PROMPT, "add_two")
    assert str(fields["solution"]).startswith("import math")


def test_a_program_that_reads_its_input_is_no_example_of_use() -> None:
    answer = (
        "```python\nprint(int(input()) + 2)\n```\nTry it:\n```python\nprint(3 + 2)\n```\n"
        "```\n5\n```"
    )
    assert script_in(answer) == "print(int(input()) + 2)\n"
    assert script_in("Just:\n```python\nprint(4)\n```") == "print(4)\n"


def test_a_value_may_have_any_tag() -> None:
    assert value_in("```python\nf('a')\n```\nThat gives\n```text\n['a', 1]\n```") == "['a', 1]"
    assert value_in(" 'a' \n") == "'a'"
    assert value_in("```\n'a\n```") == "'a"


def test_an_answer_that_does_not_parse_is_chosen_by_its_words() -> None:
    cut = "```python\ndef add_two(n):\n    return (n +\n```\n```python\nprint(1)\n```"
    assert program_in(cut, ["add_two"]) == "def add_two(n):\n    return (n +\n"


def test_a_wrong_program_is_not_mended() -> None:
    wrong = "def add_two(n):\n    return n + 2\n\nreturn (\n"
    assert program_in(f"```python\n{wrong}```", ["add_two"]) == wrong


@pytest.mark.parametrize("tail", ["return (", "def other(:\n    pass", "print(", "x = = 1"])
def test_a_broken_program_without_a_fence_is_not_mended(tail: str) -> None:
    wrong = f"{GOOD}\n\n{tail}\n"
    for text in (wrong, f"```python\n{wrong}"):
        assert tail in program_in(text, ["add_two"])


def test_an_answer_with_nothing_but_a_shell_block_is_no_program() -> None:
    answer = "```bash\npip list\n```"
    assert program_in(answer, ["add_two"]) == answer


def test_several_names_are_wanted_of_one_block() -> None:
    both = "def a(): return 1\ndef b(): return a()"
    answer = f"```python\n{both}\n```\n```python\ndef b(): return 2\n```"
    assert program_in(answer, ["a", "b"]) == both + "\n"


def test_the_names_that_a_test_calls() -> None:
    test = (
        "import math\nfrom os import path as p\ndef check(f):\n    assert f(1) == len([2])\n"
        "x = 3\nassert solve(x) == helper(math.sqrt(2)) and p(1)\ncheck(solve)"
    )
    assert names_called(test) == {"solve", "helper"}
    assert names_called("assert (") == set()


words = st.lists(st.sampled_from(("So", "this is", "the", "answer", "now:", "`n`")), max_size=6)
prose = words.map(" ".join)
others = st.sampled_from(
    (
        "```bash\npip install numpy\n```",
        "```\n4\n```",
        "~~~text\nadd_two(2) is 4\n~~~",
        "```python\nprint(add_two(2))\n```",
        "```python\nassert add_two(2) == 4\n```",
        '```json\n{"n": 2}\n```',
        f"```python\n{DRAFT}\n```",
        "```python\n>>> add_two(2)\n4\n```",
        "```python\nimport math\n```",
        "```python\ndef unused(n):\n    return add_two(n)\n```",
        "<pre>\n4\n</pre>",
        "Use `add_two(2)`.",
        '{"code": "add_two(2)"}',
        "> a quote",
        "1. an item",
        "",
    )
)
solutions = st.sampled_from(
    (
        GOOD,
        WITH_FENCES,
        f"import math\n\n\n{GOOD}\n\n\nif __name__ == '__main__':\n    print(add_two(1))",
        "add_two = lambda n: n + 2",
        "class Adder:\n    def __call__(self, n):\n        return n + 2\n\nadd_two = Adder()",
        f"MARKS = '```'\n\n{GOOD}",
        GOOD.replace("    ", "\t"),
    )
)


@given(
    before=st.lists(st.one_of(prose, others), max_size=4),
    after=st.lists(st.one_of(prose, others), max_size=3),
    solution=solutions,
    marks=st.sampled_from(("```", "````", "~~~", "~~~~~")),
    tag=st.sampled_from(("", "python", "Python", "py", " python3", "{.python}", "python a=1")),
    end=st.sampled_from(("\n", "\r\n")),
    width=st.integers(0, 3),
)
def test_a_right_solution_is_found_among_anything_else(
    before: list[str],
    after: list[str],
    solution: str,
    marks: str,
    tag: str,
    end: str,
    width: int,
) -> None:
    block = textwrap.indent(f"{marks}{tag}\n{solution}\n{marks}", " " * width, lambda _line: True)
    drafts = {f"```python\n{DRAFT}\n```"}
    parts = [*before, block, *(part for part in after if part not in drafts)]
    answer = "\n\n".join(parts).replace("\n", end)
    assert program_in(answer, ["add_two"]).rstrip() == solution
    assert run(dict(completion_in(answer, PROMPT, "add_two"))) == 7


@given(st.text(alphabet="`~ \n\rdef a():\"'>-1.{}", max_size=200))
def test_no_text_is_too_odd(text: str) -> None:
    for found in (program_in(text), program_in(text, ["a"]), script_in(text), value_in(text)):
        assert isinstance(found, str)
    assert set(completion_in(text, "def a():\n", "a")) <= {"solution", "completion"}


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" * 100_000,
        "```\n" * 100_000,
        pytest.param("~~~a\n```\n" * 50_000, marks=pytest.mark.slow),
        pytest.param("```python\nx = (\n" * 20_000, marks=pytest.mark.slow),
        "def f():\n    x\n(\n" * 20_000,
        '```python\n"""\n```\n' * 20_000,
        "> " * 200_000 + "```",
        "- " * 200_000 + "```",
        "<think>" * 100_000,
        " " * 200_000 + "x",
        "\u00a0" * 49_000,
        "<pre><code>" * 4_500,
        "<|im_end|>" * 4_900 + "x",
        "`a`" * 16_000,
        '["a",' * 9_000,
        "    x\n\n" * 8_000,
        "```python\n>>> def f(): pass\n```\n" * 1_500,
        "</think>\n" * 100_000,
        "(" * 200_000,
    ],
)
def test_no_answer_takes_long_to_read(text: str) -> None:
    text = text[: TEXT_CAP - 1]
    began = time.process_time()
    program_in(text, ["f"])
    completion_in(text, "def f():\n", "f")
    assert time.process_time() - began < 5
