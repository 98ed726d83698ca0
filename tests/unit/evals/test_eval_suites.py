"""What suites make of their files, and when they call an answer right."""

import json
import math
import time
from typing import Any

import pytest

from runner.evals.guest.codec import decode
from runner.evals.guest.compare import Comparison
from runner.evals.guest.judge import Judge
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites import SUITES
from runner.evals.suites.base import Judged
from runner.evals.suites.dabench import holds_answers
from runner.evals.suites.mbpp_plus import MbppPlus
from runner.evals.suites.stdio import same_lines


@pytest.mark.parametrize(
    ("number", "given", "meant"),
    [
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2], [3, 4]]], [[(1, 2), (3, 4)]]),
        (75, [[[1, 2]], 3], [[(1, 2)], 3]),
        (106, [[1], [2, 3]], [[1], (2, 3)]),
        (250, [[1, 2], 3], [(1, 2), 3]),
        (259, [[[1, 2]], [[3]]], [((1, 2),), ((3,),)]),
        (115, [[[1], [], [2, 3]]], [[{1}, {}, {2, 3}]]),
        (124, ["1.5", "2 + 3j"], [1.5, 2 + 3j]),
        (252, ["1j"], [1j]),
        (278, [[1, [2, 3], 4]], [(1, (2, 3), 4)]),
        (722, [{"a": [6.2, 70]}, 6.0, 70], [{"a": (6.2, 70)}, 6.0, 70]),
        (580, [[4, [7, [9]]]], [(4, (7, (9,)))]),
        (3, [[1, 2]], [[1, 2]]),
    ],
)
def test_inputs_of_mbpp_plus_are_what_the_task_means(
    number: int, given: list[Json], meant: list[Any]
) -> None:
    task = Task(f"Mbpp/{number}", Row("suite", 1, {"base_input": [given]}))
    [row] = MbppPlus().inputs(task, "base_input")
    found = decode(row)
    assert found == meant
    assert [type(one) for one in found] == [type(one) for one in meant]


@pytest.mark.parametrize(
    ("rule", "got", "expected", "args", "counts"),
    [
        ("", 0.30000001, 0.3, [], True),
        ("", 0.31, 0.3, [], False),
        ("", [0.1 + 0.2], [0.3], [], True),
        ("", (0.3,), [0.3], [], False),
        ("", 1, True, [], True),
        ("", 0.0, math.inf, [], False),
        ("", math.inf, math.inf, [], True),
        ("", -math.inf, math.inf, [], False),
        ("", [math.inf], [1.0], [], False),
        ("", math.nan, math.nan, [], True),
        ("", math.nan, 1.0, [], False),
        ("", [10**400], [1.0], [], False),
        ("any", None, True, [], True),
        ("or zero", 0, 7, [], True),
        ("or zero", 1, 7, [], False),
        ("set", [1, 2, 2], (2, 1), [], True),
        ("set", [1], (2, 1), [], False),
        ("not none", "match", True, [], True),
        ("not none", None, True, [], False),
        ("not none", False, False, [], True),
        ("root", 1.0, None, [[-1.0, 1.0]], True),
        ("root", 2.0, None, [[-1.0, 1.0]], False),
        ("surface", 33, 33, [3, 4], True),
        ("digit distance", 7, 6, [123, 256], True),
        ("digit distance", 5, 6, [123, 256], False),
    ],
)
def test_a_value_counts_by_the_rule_of_its_task(
    rule: str, got: Any, expected: Any, args: list[Any], counts: bool
) -> None:
    comparison = Comparison(rule, 1e-6 if rule in ("root", "surface") else 0)
    if counts:
        comparison.require(got, expected, args)
    else:
        with pytest.raises(AssertionError):
            comparison.require(got, expected, args)


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("1 \n2  \n\n\n", "1\n2", True),
        ("1\n\n2", "1\n2", False),
        ("1 2", "1\n2", False),
        ("0.33333", "0.333333333", True),
        ("0.34", "0.3333", False),
        ("1e3", "1000.0", True),
        ("1000001", "1000000", False),
        ("yes", "YES", False),
        ("nan", "1.0", False),
        ("0.5", "inf", False),
        ("1e999", "inf", True),
        ("123450.0", "123456", False),
        ("3.00001", "3", True),
        ("1_0.5", "10.5", False),
        ("\u0661\u0660.5", "10.5", False),
        ("1.5 2.5 3.5", "1.5 2.5", False),
        ("", "", True),
        ("x", "", False),
    ],
)
def test_the_lines_of_a_contest_are_compared(said: str, wanted: str, same: bool) -> None:
    assert same_lines(said, wanted) is same


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("@mean[2.5] and @name[Bob]", True),
        ("@name[Bob]\n@mean[2.50]", True),
        ("@mean[2.5000004] @name[Bob]", True),
        ("@mean[2.51] @name[Bob]", False),
        ("@mean[2.5] @name[bob]", False),
        ("@mean[2.5]", False),
        ("mean 2.5, Bob", False),
        ("@mean[1] @mean[2.5] @name[Bob]", True),
        ("@mean[2_0.5e-1] @name[Bob]", False),
        ("@mean[2_.5] @name[Bob]", False),
        ("@mean [2.5] @name[Bob]", False),
    ],
)
def test_an_answer_gives_every_name_its_value(text: str, right: bool) -> None:
    assert holds_answers(text, '[["mean", "2.5"], ["name", "Bob"]]') is right


def test_answers_without_an_end_are_looked_through_once() -> None:
    began = time.process_time()
    assert not holds_answers("@mean[" * 200_000, '[["mean", "2.5"]]')
    assert not same_lines("1 " * 2_000_000, "1")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("prediction", "mode", "outcome"),
    [
        ("[1, 'x']", "output", "passed"),
        (" [1,'x'] ", "output", "passed"),
        ("[2, 'x']", "output", "failed"),
        ("f(1)", "output", "failed"),
        ("(f)(1)", "output", "failed"),
        ("f( 1)", "output", "failed"),
        ("[1, 'x'], 2", "output", "failed"),
        ("[1] + ['x']", "output", "failed"),
        ("type('X', (), {'__eq__': lambda *_: True})()", "output", "failed"),
        ("(" * 5000, "output", "failed"),
        ("[(", "output", "failed"),
        ("1", "input", "passed"),
        ("f(1)", "input", "passed"),
        ("f(x=1)", "input", "passed"),
        ("x=1", "input", "passed"),
        ("1, 2", "input", "failed"),
        ("f(1)(2)", "input", "failed"),
        ("f(1) or 2", "input", "failed"),
        ("*[1]", "input", "failed"),
        ("**{'x': 1}", "input", "failed"),
        ("g(1)", "input", "failed"),
        ("1) + f(0", "input", "failed"),
        ("type('X', (), {'__index__': lambda s: 1})()", "input", "failed"),
    ],
)
def test_a_prediction_is_a_literal_and_nothing_of_it_runs(
    prediction: str, mode: str, outcome: str
) -> None:
    code = "def f(x):\n    return [x, 'x']"
    row = Row("suite", 1, {"id": "s", "code": code, "input": "1", "output": "[1, 'x']"})
    sample = Sample(0, "s", Row("samples", 1, {"prediction": prediction, "mode": mode}))
    trial = SUITES["cruxeval"]().trial(Task("s", row), sample)
    assert isinstance(trial, Judged)
    told = json.loads(repr(Judge(Loading()).verdict(dict(trial.check))))
    assert told["outcome"] == outcome


class Loading:
    """A candidate's process that loads, and must not be asked for anything else."""

    def send(self, message: list[str]) -> None:
        assert message == ["load"]

    def receive(self) -> list[object]:
        return ["value", None]


def test_an_input_of_the_suite_itself_may_be_more_than_a_literal() -> None:
    row = Row(
        "suite", 1, {"id": "s", "code": "f = len", "input": "''.join(['A'] * 20)", "output": "20"}
    )
    for prediction, outcome in (
        ("''.join(['A'] * 20)", "passed"),
        ("f(''.join(['A'] * 20))", "passed"),
        ("''.join(['B'] * 20)", "failed"),
    ):
        sample = Sample(0, "s", Row("s", 1, {"prediction": prediction, "mode": "input"}))
        trial = SUITES["cruxeval"]().trial(Task("s", row), sample)
        assert isinstance(trial, Judged)
        told = json.loads(repr(Judge(Loading()).verdict(dict(trial.check))))
        assert told["outcome"] == outcome


def test_a_prediction_in_another_mode_is_refused() -> None:
    row = Row("suite", 1, {"id": "s", "code": "", "input": "1", "output": "1"})
    sample = Sample(0, "s", Row("samples", 4, {"prediction": "1", "mode": "both"}))
    with pytest.raises(ValueError, match="samples:4: mode: is 'both' and must be"):
        SUITES["cruxeval"]().trial(Task("s", row), sample)
