"""Kinds of tasks that once got a wrong verdict, each by a small task of our own."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.evals import evaluate
from runner.evals.samples.records import Verdict


def graded(tmp_path: Path, suite: str, task: dict[str, Any], *samples: Any) -> list[Verdict]:
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps(task) + "\n")
    found = [
        {"task_id": task["task_id"], **(one if isinstance(one, dict) else {"solution": one})}
        for one in samples
    ]
    return evaluate(suite, found, data=data, jobs=1).verdicts


def outcomes(verdicts: list[Verdict]) -> list[str]:
    return [verdict.outcome for verdict in verdicts]


MBPP = {
    "task_id": 126,
    "code": "def sum(a, b):\n    return a + b - 1",
    "test_list": ["assert sum(10, 15) == 24", "assert sum(1, 1) == 1"],
    "test_imports": [],
}


def test_a_function_that_is_named_like_a_built_in_one_is_the_candidates(tmp_path: Path) -> None:
    right, wrong = "def sum(a, b):\n    return a + b - 1", "def sum(a, b):\n    return a + b"
    verdicts = graded(tmp_path, "mbpp", MBPP, right, wrong, "def total(a, b):\n    return 24")
    assert outcomes(verdicts) == ["passed", "failed", "failed"]


def test_a_built_in_function_that_no_task_asks_for_stays_the_judges(tmp_path: Path) -> None:
    task = {**MBPP, "code": "def f(a): return a", "test_list": ["assert all([f(1) == 1])"]}
    forged = "def all(found):\n    return True\ndef f(a):\n    return 0"
    assert outcomes(graded(tmp_path, "mbpp", task, forged)) == ["failed"]


MATCHING = {
    "task_id": "Mbpp/1",
    "prompt": "",
    "entry_point": "check_str",
    "canonical_solution": "import re\ndef check_str(s):\n    return re.match('[aeiou]', s)",
    "base_input": [["apple"], ["dog"]],
    "plus_input": {},
    "atol": 0,
}


def test_a_reference_may_answer_with_a_match_and_have_no_further_inputs(tmp_path: Path) -> None:
    right = ["import re\ndef check_str(s):\n    return re.search('^[aeiou]', s)"]
    right.append("def check_str(s):\n    return s[0] in 'aeiou'")
    wrong = "def check_str(s):\n    return None"
    assert outcomes(graded(tmp_path, "mbpp-plus", MATCHING, *right, wrong)) == [
        "passed",
        "passed",
        "failed",
    ]


HEAD = """
import enum, re
from array import array
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
Pair = namedtuple("Pair", "a b")
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
@dataclass
class Point:
    at: object
class Silent:
    def __str__(self):
        raise ValueError("no words")
"""
ANSWERS = {  # what a reference answers, of a text: a wrong answer, whether the same one passes
    "re.match('[a-z]+', s)": ("re.match('[a-z]', s)", True),
    "[re.match('[a-z]+', s), 1]": ("[re.match('[a-z]+', s), 2]", True),
    "re.compile(s)": ("re.compile(s + 's')", True),
    "{(one, 1) for one in s}": ("{(one, 2) for one in s}", True),
    "Point(s)": ("Point(s + 's')", True),
    "Pair(s, 1)": ("Pair(s, 2)", True),
    "Colour.RED": ("Colour.BLUE", True),
    "Decimal(len(s)) / 3": ("Decimal(len(s))", True),
    "Fraction(len(s), 7)": ("Fraction(len(s), 6)", True),
    "complex(len(s), 2)": ("complex(len(s), 3)", True),
    "float('nan')": ("0.5", True),
    "Path(s)": ("s", True),
    "array('i', [len(s)])": ("array('i')", True),
    "ValueError(s)": ("TypeError(s)", True),
    "...": ("None", True),
    "(one for one in s)": ("0", False),
    "(lambda: s)": ("0", False),
    "object()": ("0", False),
    "Silent()": ("0", False),
}


def test_every_sample_has_a_verdict_whatever_the_reference_answers(tmp_path: Path) -> None:
    def source(answer: str) -> str:
        return f"{HEAD}\ndef f(s):\n    return {answer}\n"

    tasks, samples = [], []
    for number, (answer, (wrong, _)) in enumerate(ANSWERS.items()):
        task_id = f"Mbpp/{9000 + number}"
        tasks.append(
            {
                **MATCHING,
                "task_id": task_id,
                "entry_point": "f",
                "canonical_solution": source(answer),
                "base_input": [["apple"], ["dog"]],
            }
        )
        samples += [{"task_id": task_id, "solution": source(one)} for one in (answer, wrong)]
    data = tmp_path / "tasks.jsonl"
    data.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    found = outcomes(evaluate("mbpp-plus", samples, data=data, jobs=1).verdicts)
    expected = [
        one
        for _, is_same in ANSWERS.values()
        for one in ("passed" if is_same else "failed", "failed")
    ]
    assert dict(zip(ANSWERS, zip(found[::2], found[1::2], strict=True), strict=True)) == dict(
        zip(ANSWERS, zip(expected[::2], expected[1::2], strict=True), strict=True)
    )


@pytest.mark.parametrize(
    "body",
    [
        "    return input()",
        "    import sys\n    return sys.stdin.read()",
        "    import sys\n    return sys.stdin.readline()",
        "    import sys\n    return list(sys.stdin)",
    ],
)
def test_a_function_that_reads_standard_input_fails(tmp_path: Path, body: str) -> None:
    task = {
        "task_id": "T/0",
        "prompt": "def read():\n",
        "entry_point": "read",
        "test": "def check(candidate):\n    assert candidate() in ('', [])",
    }
    [verdict] = graded(tmp_path, "humaneval", task, {"completion": body})
    assert (verdict.outcome, verdict.error) == ("failed", "OSError")


PLOT = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

def exec_test(result, ans):
    assert [line.get_ydata().tolist() for line in plt.gca().lines] == [[1, 2]]
    return 1

def test_execution(solution):
    names = {}
    exec("import matplotlib.pyplot as plt\\n" + solution, names)
    exec_test(names.get("result"), None)
"""
WEAK = PLOT.replace("== [[1, 2]]", "is not None")


def test_the_wrong_solution_of_a_plotting_task_does_not_find_the_candidates_figure(
    tmp_path: Path,
) -> None:
    pytest.importorskip("matplotlib")
    task = {"task_id": "p", "code_context": PLOT}
    verdicts = graded(tmp_path, "ds1000", task, "plt.plot([1, 2])", "plt.plot([2, 1])", "pass")
    assert outcomes(verdicts) == ["passed", "failed", "failed"]


def test_a_context_that_passes_anything_calls_no_solution_forged(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    task = {"task_id": "p", "code_context": WEAK}
    assert outcomes(graded(tmp_path, "ds1000", task, "plt.plot([1, 2])")) == ["passed"]


def test_a_candidate_that_has_everything_pass_beside_it_is_forged(tmp_path: Path) -> None:
    context = "def exec_test(result, ans):\n    assert sorted(result) == ans\n\n"
    context += "def test_execution(solution):\n    names = {}\n    exec(solution, names)\n"
    context += "    exec_test(names['result'], [1])\n"
    task = {"task_id": "p", "code_context": context}
    forged = "import builtins\nbuiltins.sorted = lambda found: [1]\nresult = 0"
    verdicts = graded(tmp_path, "ds1000", task, "result = [1]", forged)
    assert outcomes(verdicts) == ["passed", "failed"]
    assert verdicts[1].error == "Forged"


def test_a_file_with_a_mark_of_the_byte_order_is_read(tmp_path: Path) -> None:
    data, samples = tmp_path / "tasks.jsonl", tmp_path / "samples.jsonl"
    task = {"task_id": "a", "test": "assert f() == 1"}
    data.write_bytes(b"\xef\xbb\xbf" + json.dumps(task).encode())
    sample = {"task_id": "a", "completion": "def f(): return 1"}
    samples.write_bytes(b"\xef\xbb\xbf" + json.dumps(sample).encode() + b"\r\n")
    assert evaluate("custom", samples, data=data, jobs=1).score.pass_at[1] == 1.0


LONG = {
    "task_id": "T/1",
    "prompt": "def f(n):\n",
    "entry_point": "f",
    "canonical_solution": "    return [one / 2 for one in range(n)]",
    "base_input": [[200_000], [200_001], [200_002]],
    "plus_input": [],
    "atol": 0,
}


def test_what_long_answers_cost_to_compare_is_not_the_candidates(tmp_path: Path) -> None:
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps(LONG) + "\n")
    wrong = "    return [one / 2 for one in range(n - 1)] + [0.0]"
    loop = "    while True: pass"
    bodies = (LONG["canonical_solution"], wrong, loop)
    samples: list[dict[str, Any]] = [{"task_id": "T/1", "completion": one} for one in bodies]
    settings: dict[str, Any] = {"timeout_s": 0.4, "speed": 1.0, "recheck": False}
    verdicts = evaluate("humaneval-plus", samples, data=data, jobs=1, **settings).verdicts
    assert outcomes(verdicts) == ["passed", "failed", "timed_out"]
    assert float(str(verdicts[0].details["handling_s"])) > 0.05


EVIL = {
    "a number that is not made": "def f(x):\n"
    "    from fractions import Fraction\n    from runner.evals.guest import codec\n"
    "    codec.ENCODERS[Fraction] = lambda *_: {'Fraction': '1e30000000'}\n"
    "    return Fraction(1)",
    "a range that is a list too long": "def f(x):\n    return range(10**10)",
}


@pytest.mark.parametrize("name", EVIL)
def test_what_one_candidate_costs_the_judge_is_its_own(tmp_path: Path, name: str) -> None:
    task = {"task_id": "t", "test": "assert sorted(f(1)) == [1]"}
    good = "def f(x):\n    return [x]"
    verdicts = graded(tmp_path, "custom", task, *[good] * 5, EVIL[name], *[good] * 10)
    found = outcomes(verdicts)
    assert found[:5] + found[6:] == ["passed"] * 15
    assert found[5] in ("failed", "out_of_memory", "timed_out")
    assert [verdict.attempts for verdict in verdicts] == [1] * 16
