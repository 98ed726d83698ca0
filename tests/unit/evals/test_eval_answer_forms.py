"""Programs that models wrap otherwise than in one block: helpers apart, JSON, HTML, prompts."""

import textwrap

import pytest

from runner.evals.samples.answers import completion_in, program_in, script_in

GOOD = "def add_two(n):\n    return n + 2"
BODY = "    return n + 2"
PROMPT = 'import math\n\n\ndef add_two(n):\n    """Give n + 2."""\n'
DRAFT = "def add_two(n):\n    return n"
HELPER = "def plus(a, b):\n    return a + b"
HELPED = "def add_two(n):\n    return plus(n, 2)"
FLOORED = "def plus(a, b):\n    return floor(a + b)"
EMPTY = "def add_two(n):\n    ..."
TWO = "class Two:\n    value = 2"
BOTH = f"{HELPER}\n\n{DRAFT}"
AND_MORE = f"{HELPER}\nprint(plus(1, 2))\nx = 3"
WRITTEN_OUT = GOOD.replace("\n", "\\n")
CARRIED = f'{{"code": "{WRITTEN_OUT}"}}'


def fenced(code: str, tag: str = "python") -> str:
    return f"```{tag}\n{code}\n```"


def session(first: str, more: str) -> str:
    return f"{first}def add_two(n):\n{more}    return n + 2\n{more}\n{first}add_two(1)\n3"


DIFF = """--- a/two.py
+++ b/two.py
@@ -1,2 +1,2 @@
 def add_two(n):
-    return n
+    return n + 2"""
NEW_FILE = "".join(f"+{line}\n" for line in GOOD.splitlines())
LISTED = "\n".join(f"{number:>3}{{0}}{line}" for number, line in enumerate(GOOD.splitlines(), 9))
ANSWERS = {
    "a diff": fenced(DIFF, "diff"),
    "a diff with no tag": f"The change:\n{fenced(DIFF, '')}",
    "a diff of a new file": fenced(NEW_FILE, "diff"),
    "a diff and a word behind it": f"{fenced(DIFF, 'diff')}\nThis adds two.",
    **{
        f"a listing with {mark!r}": fenced(LISTED.format(mark), "")
        for mark in (" ", "  ", ": ", " | ", ". ", "\t", " │ ", "|")
    },
    "a listing and its tag": fenced(LISTED.format("  ")),
    "a function over two blocks": f"{fenced('def add_two(n):' + chr(10) + '    m = n + 1')}\n"
    f"and then\n{fenced('    return m + 1')}",
    "a word before it": f"Answer: {GOOD}",
    "a word before one line": "Answer: def add_two(n): return n + 2",
    "a bold word before it": f"**Solution:** {GOOD}\n\nIt adds two.",
    "a helper in an earlier block": f"First:\n{fenced(HELPER)}\nThen:\n{fenced(HELPED)}",
    "a helper in a later block": f"{fenced(HELPED)}\nIt needs:\n{fenced(HELPER)}",
    "a test between the two": f"{fenced(HELPER)}\n{fenced('assert plus(1, 2) == 3')}\n"
    f"{fenced(HELPED)}",
    "a helper beside a draft": f"{fenced(BOTH)}\n{fenced(HELPED)}",
    "a helper of a helper": f"{fenced('from math import floor')}\n"
    f"{fenced(FLOORED)}\n{fenced(HELPED)}",
    "a constant in an earlier block": f"{fenced('TWO = 2')}\n{fenced(GOOD.replace('2', 'TWO'))}",
    "an import in an earlier block": f"{fenced('import operator as op')}\n"
    f"{fenced(GOOD.replace('n + 2', 'op.add(n, 2)'))}",
    "a class in an earlier block": f"{fenced(TWO)}\n{fenced(GOOD.replace('2', 'Two.value'))}",
    "tests between candidates": f"{fenced(DRAFT)}\n{fenced('assert add_two(1) == 3')}\n"
    f"{fenced(GOOD)}\n{fenced('print(add_two(1))')}",
    "HTML": f'So:\n<pre><code class="language-python">{GOOD}\n</code></pre>\nDone.',
    "HTML with escapes": "<pre><code>def add_two(n):\n    return n + 2 if n &lt; 9 else n + 2\n"
    "</code></pre>",
    "HTML code alone": f"<code>\n{GOOD}\n</code>\nDone.",
    "a fence in one line": "```def add_two(n): return n + 2```",
    "a fence in one line, with a tag": "```python def add_two(n): return n + 2```",
    "a fence within a sentence": "The answer is ```def add_two(n): return n + 2``` as asked.",
    "inline code": "Use `add_two = lambda n: n + 2`.",
    "blanks that are no ASCII": fenced(GOOD.replace("    ", "\u00a0" * 4)),
    "wide blanks": fenced(GOOD.replace("    ", "\u3000\u3000")),
    "blanks that are no ASCII, no fence": GOOD.replace("    ", "\u00a0" * 4),
    "a mark of the byte order in the block": fenced(f"\ufeff{GOOD}"),
    "a character without width": fenced(f"\u200b{GOOD}"),
    "a session": fenced(session(">>> ", "... "), "pycon"),
    "a session with another tag": fenced(session(">>> ", "... ")),
    "a session of IPython": fenced(session("In [1]: ", "   ...: ")),
    "a cell of a notebook": fenced(f"%matplotlib inline\n!pip list\n{GOOD}"),
    "a cell that is written": fenced(f"%%writefile a.py\n{GOOD}"),
    "thoughts in a line": f"<think>`def add_two(n): return n`?</think>{GOOD}",
    "thoughts of another tag": f"<thought>\n{DRAFT}\n</thought>\n{GOOD}",
    "reasoning, then an answer": f"<reasoning>\n{DRAFT}\n</reasoning>\n<answer>\n{GOOD}\n</answer>",
    "thoughts behind it": f"{fenced(GOOD)}\n<think>\n{fenced(DRAFT)}\n</think>",
    "JSON": CARRIED,
    "JSON in a fence": f'So:\n```json\n{{"thoughts": "x", "answer": "{WRITTEN_OUT}"}}\n```\nDone',
    "JSON around a fence": f'{{"code": "```python\\n{WRITTEN_OUT}\\n```"}}',
    "JSON with line ends": f'{{"code": "{GOOD}"}}',
    "a list in JSON": f"[{CARRIED}]",
    "a text in JSON": f'"{WRITTEN_OUT}"',
    "a text of Python": repr(GOOD),
    "line ends written out": f"```python\\n{WRITTEN_OUT}\\n```",
    "line ends written out, no fence": WRITTEN_OUT,
    "the token that ends a turn": f"{GOOD}<|endoftext|>",
    "the tag that ends a text": f"{GOOD}</s>",
    "marks around it": f"[BEGIN]\n{GOOD}\n[DONE]",
    "a tag in a line of its own": f"python\n{GOOD}",
    "a tag in the block": fenced(f"Python\n{GOOD}", ""),
    "JSON among sentences": f"Here:\n{CARRIED}\nDone.",
    "lines in JSON": '{"code": ["def add_two(n):", "    return n + 2"]}',
    "a notebook": '{"cells": [{"source": ["def add_two(n):\\n", "    return n + 2"]}]}',
    "HTML with line breaks": "<pre>def add_two(n):<br/>    return n + 2</pre>",
    "a blank that is no ASCII within": fenced(GOOD.replace("return ", "return\u00a0")),
    "a closing that is set in too far": f"```python\n{GOOD}\n    ```\nDone",
    "a sketch behind it": f"{fenced(GOOD)}\nIts shape:\n{fenced(EMPTY)}",
    "indented code": f"Here it is:\n\n{textwrap.indent(GOOD, '    ')}\n\nDone.",
    "a directive": f"Here::\n\n.. code-block:: python\n\n{textwrap.indent(GOOD, '    ')}\n",
}


def run(code: object) -> int:
    """What a program gives for 5: these answers are our own."""
    names: dict[str, object] = {}
    exec(str(code), names)
    found = names["add_two"](5)  # type: ignore[operator]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_a_program_is_found_in_what_it_is_wrapped_in(name: str) -> None:
    answer = ANSWERS[name]
    assert run(program_in(answer, ["add_two"])) == 7
    fields = completion_in(answer, PROMPT, "add_two")
    assert run(fields["solution"]) == 7


@pytest.mark.parametrize(
    "answer",
    [
        f"Here is the rest:\n\n{BODY}\n\nThat adds two.",
        f"Sure, here:\n{BODY}",
        "Sure:\n\n  m = n\n  return m + 2\n\nDone.",
    ],
)
def test_the_inside_of_a_function_is_found_among_sentences(answer: str) -> None:
    fields = completion_in(answer, PROMPT, "add_two")
    assert run(PROMPT + str(fields["completion"])) == 7


@pytest.mark.parametrize(
    ("answer", "names", "kept"),
    [
        ('{"code": 1}', ["add_two"], '{"code": 1}'),
        (fenced(f"{GOOD}\nTEXT = '<think>x</think>'"), ["add_two"], "<think>x</think>"),
        (fenced(f'{GOOD}\nTEXT = """\n>>> add_two(1)\n%magic\n"""'), ["add_two"], "%magic"),
        (fenced(f"{GOOD}\nBLANK = '\u00a0\u200b'"), ["add_two"], "\u00a0\u200b"),
        (f"{GOOD}\n\n# `add_two = 1`\nreturn (", ["add_two"], "return ("),
        (
            fenced("class A:\n\n    def add_two(n):\n        return n\n\nx = ("),
            ["add_two"],
            "x = (",
        ),
        (fenced(f"{GOOD}\n\nreturn (") + "\n<code>add_two = 3</code>", ["other"], "return ("),
        (fenced("def f():\n    return unknown"), ["f"], "def f():\n    return unknown\n"),
    ],
)
def test_what_is_the_models_own_stays_as_it_is(answer: str, names: list[str], kept: str) -> None:
    assert kept in program_in(answer, names)


def test_only_what_is_missing_is_taken_from_another_block() -> None:
    answer = f"{fenced(AND_MORE)}\n{fenced(HELPED)}"
    found = program_in(answer, ["add_two"])
    assert "print" not in found
    assert "x = 3" not in found
    assert run(found) == 7


def test_helpers_that_the_prompt_has_are_not_replaced() -> None:
    prompt = f"{HELPER}\n\n\n{PROMPT}"
    wrong = HELPER.replace("+", "-")
    fields = completion_in(f"{fenced(wrong)}\n{fenced(HELPED)}", prompt, "add_two")
    assert run(fields["solution"]) == 7


def test_names_of_two_blocks_come_together() -> None:
    found = program_in(f"{fenced(GOOD)}\n{fenced(HELPER)}", ["add_two", "plus"])
    assert run(found) == 7
    assert "def plus" in found


def test_a_script_has_its_helpers() -> None:
    found = script_in(f"{fenced(HELPER)}\n{fenced('print(plus(int(input()), 2))')}")
    assert found.startswith("def plus")
