"""A test judged by what a candidate said beforehand: the living one's verdict, or none."""

import json
import linecache
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from runner.evals.guest.candidate import FILE
from runner.evals.guest.replay import may_stay, plan, verdict
from runner.evals.guest.warmup import practise

NOTHING: dict[str, Any] = {"dict": []}


def check(test: str, entry: str = "f", *, helpers: str = "") -> dict[str, Any]:
    return {
        "kind": "calls",
        "helpers": helpers,
        "test": test,
        "entry": entry,
        "call": bool(entry),
    }


def said(*answers: Any) -> str:
    """The lines of a candidate that has one function `f`, and these answers."""
    opening = [None, ["f"], {"object": [0, "function"]}]
    return "".join(json.dumps(["value", one]) + "\n" for one in (*opening, *answers))


BODY = "def check(candidate):\n    assert candidate(1) == 2\n    assert not candidate(2) > 5\n"


def test_a_plan_holds_every_call_that_the_test_makes() -> None:
    assert plan(check(BODY)) == {
        "names": ["f"],
        "calls": [["f", [1], NOTHING, True], ["f", [2], NOTHING, True]],
    }


@pytest.mark.parametrize(
    "line",
    [
        "assert candidate(3) == [1]",
        "assert abs(candidate(3) - 1.5) < 1e-6",
        "assert not candidate(3)",
        "assert candidate(3)[0] != 4",
        "assert all(one > 0 for one in candidate(3))",
        "assert round(candidate(3), 2) == 1 or False",
        "assert 'x' in candidate(3)",
        "assert candidate(3).strip().lower() == 'x'",
    ],
)
def test_a_plan_agrees_with_every_kind_of_assertion(line: str) -> None:
    test = f"def check(candidate):\n    {line}\n    assert candidate(4)\n"
    found = plan(check(test))
    assert found is not None
    assert [call[1] for call in found["calls"]] == [[3], [4]]


def test_a_test_without_an_entry_names_the_functions_that_it_calls() -> None:
    test = "import math\nassert math.floor(area(2)) == len(sides([1]))"
    found = plan(check(test, entry=""))
    assert found is not None
    assert found["names"] == ["area", "sides"]


@pytest.mark.parametrize("test", ["x = 1", "def check(candidate):\n    assert candidate.x == 1"])
def test_a_test_that_calls_nothing_has_no_plan(test: str) -> None:
    assert plan({**check(test), "call": "def check" in test}) is None


def judged(test: str, lines: str) -> dict[str, Any]:
    asked = plan(check(test))
    assert asked is not None
    return verdict(check(test), asked, lines)


def test_right_answers_pass_and_wrong_ones_fail() -> None:
    assert judged(BODY, said(2, 3))["outcome"] == "passed"
    assert judged(BODY, said(2, 6))["outcome"] == "failed"
    assert judged(BODY, said(3, 3))["error"] == "AssertionError"


def test_an_error_of_the_candidate_is_the_end_of_the_test() -> None:
    lines = said(2) + json.dumps(["raised", ["ValueError", "Exception"], "no", "trace"]) + "\n"
    found = judged(BODY, lines)
    assert (found["outcome"], found["error"]) == ("failed", "ValueError")
    assert found["result"] == "failed: no"


def test_a_wrong_answer_before_the_silence_is_wrong_all_the_same() -> None:
    assert judged(BODY, said(7))["outcome"] == "failed"


@pytest.mark.parametrize("lines", ["", said(), said(2), said(2) + '["value", 3]'])
def test_silence_where_the_test_asks_is_no_verdict(lines: str) -> None:
    assert judged(BODY, lines) == {"missing": "silence"}


@pytest.mark.parametrize(
    "test",
    [
        "def check(candidate):\n    assert candidate(candidate(1)) == 2\n",
        "def check(candidate):\n    assert candidate(1)\n    assert candidate(str(candidate))\n",
    ],
)
def test_a_question_that_was_not_foreseen_is_no_verdict(test: str) -> None:
    assert judged(test, said(2, 2, 2)) == {"missing": "another question"}


def test_the_message_of_a_failed_assertion_may_repeat_its_call() -> None:
    test = (
        "def check(candidate):\n"
        "    assert candidate(1) == 2, 'Error: ' + str(candidate(1))\n"
        "    assert candidate(2) == 3, 'Error: ' + str(candidate(2))\n"
    )
    assert judged(test, said(2, 3))["outcome"] == "passed"
    failed = judged(test, said(2, 9))
    assert (failed["outcome"], failed["result"]) == ("failed", "failed: Error: 9")


@pytest.mark.parametrize(
    "line",
    [
        "assert candidate(1) == 2, str(candidate(5))",
        "assert candidate(1) == 2 or candidate(1) == 2, ''",
        "assert candidate(1) == 2, (yes := candidate(1))",
    ],
)
def test_any_other_repetition_is_not_guessed_at(line: str) -> None:
    test = f"def check(candidate):\n    {line}\n"
    assert judged(test, said(7)) == {"missing": "another question"}


def test_a_test_that_hides_the_gap_does_not_pass_by_it() -> None:
    test = (
        "def check(candidate):\n    assert candidate(1)\n"
        "    try:\n        candidate(2)\n    except BaseException:\n        pass\n"
    )
    assert judged(test, said(True)) == {"missing": "silence"}


@pytest.mark.parametrize("line", ["\xff\n", "[\n", '{"value": 1}\n', '["value", {"set": [[]]}]\n'])
def test_what_makes_no_sense_fails(line: str) -> None:
    found = judged(BODY, said() + line)
    assert found["outcome"] == "failed"
    assert "out of turn" in found["result"]


def test_inputs_are_compared_with_the_reference_and_a_failure_ends_its_group() -> None:
    groups = {"base": [[[1], 1], [[2], 2], [[3], 3]], "plus": [[[4], 4]]}
    inputs = {
        "kind": "inputs",
        "entry": "f",
        "rule": "",
        "atol": 0,
        "groups": groups,
        "reference": [],
    }
    calls = [["f", [number], NOTHING, False] for number in (1, 2, 3, 4)]
    asked = {"names": ["f"], "calls": calls}
    assert verdict(inputs, asked, said(1, 2, 3, 4))["outcome"] == "passed"
    failed = verdict(inputs, asked, said(1, 9, 3, 4))
    assert failed["outcome"] == "failed"
    assert failed["details"] == {"groups": {"base": False, "plus": True}}
    # The call that is missing might not have been reached by a candidate that is asked one by one.
    assert verdict(inputs, asked, said(1, 9, 3)) == {"missing": "another question"}
    assert verdict(inputs, asked, said(1, 2)) == {"missing": "silence"}


@pytest.mark.parametrize(
    ("test", "stays"),
    [
        (BODY, True),
        ("import math\nassert math.sqrt(f(1)) == 1", True),
        ("import os\nassert f(1)", False),
        ("from decimal import getcontext\nassert f(1)", False),
        ("assert eval(f(1))", False),
        ("f.cache = 1\nassert f(1)", False),
        ("assert f.__class__", False),
        ("class Box: pass\nassert f(Box())", False),
    ],
)
def test_only_a_test_that_changes_nothing_shares_a_process(test: str, stays: bool) -> None:
    assert may_stay(check(test)) is stays


def test_practice_leaves_nothing_behind() -> None:
    before = os.listdir("/proc/self/fd")
    practise()
    assert os.listdir("/proc/self/fd") == before
    assert FILE not in linecache.cache


COLLIDING = """
import json
from runner.evals.guest import replay
check = {"kind": "calls", "helpers": "", "test": "assert f(1) == 2", "entry": "f", "call": False}
same_hash = {"set": [{"int": hex(number * ((1 << 61) - 1))} for number in range(1, 40_000)]}
opening = [None, ["f"], {"object": [0, "function"]}]
def lines(last):
    return "".join(json.dumps(["value", one]) + "\\n" for one in (*opening, last))
asked = {"names": ["f"], "calls": [["f", [1], {"dict": []}, True]]}
first = {"test": 1, "check": check, "asked": asked, "answers": lines(2)}
replay.work([first, {"test": 1, "answers": lines(same_hash)}, {"test": 1, "answers": lines(2)}])
"""


def test_answers_that_cost_much_end_the_judge_soon_and_cost_those_before_nothing() -> None:
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run(
        [sys.executable, "-c", COLLIDING], capture_output=True, text=True, timeout=60, check=False
    )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began
    assert ended.returncode == -signal.SIGPROF, ended
    assert [json.loads(line)["outcome"] for line in ended.stdout.splitlines()] == ["passed"]
    assert spent < 4
