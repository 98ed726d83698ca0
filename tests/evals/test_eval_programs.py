"""Contests and data questions: the host compares what a program printed."""

import json
from pathlib import Path

import pytest

from runner.evals import SUITES, evaluate
from runner.evals.samples import files
from runner.evals.samples.records import Row, Sample
from runner.evals.suites.base import Answer
from tests.corpora import BOTH, OWN, PUBLISHED, Corpora

SLACK_TIMEOUT_S = 10.0


def test_a_slow_or_wrong_contest_program_does_not_pass() -> None:
    [task] = [row for row in OWN.rows("stdio") if "lorry" in row["labels"]]
    read = "import sys\nwords = iter(sys.stdin.read().split())\n"
    samples = [
        {"task_id": str(task["id"]), "solution": read + "print('wrong')"},
        {"task_id": str(task["id"]), "solution": "while True: pass"},
        {"task_id": str(task["id"]), "solution": "print(input("},
    ]
    report = evaluate("stdio", samples, data=OWN["stdio"], timeout_s=0.5, recheck=False)
    assert [verdict.outcome for verdict in report.verdicts] == ["failed", "timed_out", "failed"]
    assert report.verdicts[0].result == "failed: wrong answer in case 1"


LORRY = """
_count, room = map(int, input().split())
taken = 0
for size in sorted(map(int, input().split())):
    if size > room:
        break
    room -= size
    taken += 1
print(taken, room)
"""
MONSTERS = """
for _ in range(int(input())):
    _count, step = map(int, input().split())
    places = sorted(set(map(int, input().split())), reverse=True)
    print(sum(place > shot * step for shot, place in enumerate(places)))
"""


@pytest.mark.parametrize(
    ("corpora", "label", "program", "close", "cases"),
    [
        pytest.param(OWN, "lorry", LORRY, LORRY.replace("size >", "size >="), 4, id="own"),
        pytest.param(
            PUBLISHED,
            "1238_B",
            MONSTERS,
            MONSTERS.replace("place > shot", "place >= shot"),
            96,
            id="published",
            marks=pytest.mark.corpora,
        ),
    ],
)
def test_a_program_that_solves_a_contest_passes_all_of_its_cases(
    corpora: Corpora, label: str, program: str, close: str, cases: int
) -> None:
    [task] = [row for row in corpora.rows("stdio") if label in row["labels"]]
    samples = [{"task_id": str(task["id"]), "solution": code} for code in (program, close)]
    right, wrong = evaluate("stdio", samples, data=corpora["stdio"], timeout_s=10).verdicts
    assert (right.outcome, right.details) == ("passed", {"cases": cases})
    assert wrong.outcome == "failed"


def test_floats_may_differ_a_little_and_whole_numbers_may_not(tmp_path: Path) -> None:
    data = tmp_path / "tasks.jsonl"
    cases = {"inputs": ["3\n"], "outputs": ["1.7320508 3\n"]}
    data.write_text(json.dumps({"task_id": "root", "input_output": json.dumps(cases)}) + "\n")
    programs = (
        "x = int(input())\nprint(x ** 0.5, x)",
        "x = int(input())\nprint(x ** 0.5)\nprint(x)",
        "print('1.7320508 3.00001')",
        "print('1.74 3')",
        "import os\nos.write(1, b'1.7320508 3  \\n\\n')\nos._exit(0)",
    )
    report = evaluate(
        "stdio", [{"task_id": "root", "solution": code} for code in programs], data=data
    )
    assert [verdict.passed for verdict in report.verdicts] == [True, False, True, False, True]


BY_HAND = """
import csv
with open({table!r}) as stream:
    values = [float(row[{column!r}]) for row in csv.DictReader(stream) if row[{column!r}]]
print(f"The mean is @{name}[{{sum(values) / len(values):.2f}}]")
"""


@pytest.mark.parametrize(
    ("corpora", "number", "table", "column", "name", "right", "wrong"),
    [
        pytest.param(OWN, "1", "rain.csv", "rain_mm", "mean_rain", "5.160", "5.17", id="own"),
        pytest.param(
            PUBLISHED,
            "9",
            "GODREJIND.csv",
            "Close Price",
            "mean_close_price",
            "570.680",
            "570.69",
            id="published",
            marks=pytest.mark.corpora,
        ),
    ],
)
def test_a_question_about_a_table_is_answered_by_a_program_or_in_words(
    corpora: Corpora, number: str, table: str, column: str, name: str, right: str, wrong: str
) -> None:
    by_hand = BY_HAND.format(table=table, column=column, name=name)
    samples = [
        {"task_id": number, "completion": by_hand},
        {"task_id": number, "response": f"I think @{name}[{right}]."},
        {"task_id": number, "response": f"@{name}[{wrong}]"},
        {"task_id": number, "completion": f"print({right!r})"},
    ]
    report = evaluate("dabench", samples, data=corpora["dabench"], timeout_s=SLACK_TIMEOUT_S)
    assert [verdict.passed for verdict in report.verdicts] == [True, True, False, False]


@pytest.mark.parametrize("corpora", BOTH)
def test_the_labels_of_every_question_about_a_table_are_its_right_answer(
    corpora: Corpora,
) -> None:
    kind = SUITES["dabench"]()
    tasks = kind.load(files.read(corpora["dabench"]).rows)
    assert len(tasks) == {"own": 3, "published": 94}[corpora.name]
    for task in tasks.values():
        pairs = task.row.fields["common_answers"]
        assert isinstance(pairs, list)
        named = [one for one in pairs if isinstance(one, list)]
        right = "So: " + ", ".join(f"@{name}[{value}]" for name, value in named)
        for text, is_right in ((right, True), (right.replace("[", "[x", 1), False)):
            row = Row("samples", 1, {"response": text})
            trial = kind.trial(task, Sample(0, task.task_id, row))
            assert isinstance(trial, Answer)
            assert trial.accept(trial.text, trial.expected) is is_right, text


def test_a_solution_in_its_context_is_run_and_compared(tmp_path: Path) -> None:
    context = (
        "import copy\n"
        "def generate_test_case(test_case_id):\n    return [3, 1, 2], [1, 2, 3]\n"
        "def exec_test(result, ans):\n    assert result == ans\n    return 1\n"
        "exec_context = 'x = test_input\\n[insert]\\n'\n"
        "def test_execution(solution):\n"
        "    code = exec_context.replace('[insert]', solution)\n"
        "    test_input, expected = generate_test_case(1)\n"
        "    env = {'test_input': test_input}\n"
        "    exec(code, env)\n"
        "    assert exec_test(env['result'], expected)\n"
        "def test_string(solution):\n    assert 'for' not in solution\n"
    )
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps({"task_id": 0, "code_context": context}) + "\n")
    codes = (
        "result = sorted(x)",
        "result = [one for one in (1, 2, 3)]",
        "result = x",
        "class Yes:\n    def __eq__(self, other): return True\nresult = Yes()",
        "import builtins\nbuiltins.AssertionError = KeyError\nresult = 1",
        "import sys\nsys.exit(0)",
    )
    report = evaluate("ds1000", [{"task_id": 0, "completion": code} for code in codes], data=data)
    outcomes = [verdict.outcome for verdict in report.verdicts]
    assert outcomes == ["passed", *["failed"] * 5]
