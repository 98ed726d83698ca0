"""What a model is asked for the tasks of each suite, and that its answer is graded."""

import pytest

from runner.evals import SUITES
from runner.evals.samples import files
from runner.evals.samples.records import Row, Sample
from tests.corpora import OWN, PUBLISHED, Corpora

SHARED = ("humaneval", "mbpp", "classeval", "bigcodebench", "cruxeval", "stdio", "dabench")
OWN_ALONE = ("humaneval-plus", "mbpp-plus", "ds1000")


@pytest.mark.parametrize(
    ("suite", "corpora"),
    [
        *(pytest.param(name, OWN, id=f"{name}-own") for name in (*SHARED, *OWN_ALONE)),
        *(
            pytest.param(name, PUBLISHED, id=f"{name}-published", marks=pytest.mark.corpora)
            for name in SHARED
        ),
    ],
)
def test_every_task_is_a_question_that_does_not_hold_its_solution(
    suite: str, corpora: Corpora
) -> None:
    kind = SUITES[suite]()
    for task in kind.load(files.read(corpora[suite]).rows).values():
        question = kind.question(task)
        assert len(question) > 40
        solution = kind.canonical(task)
        # A value may well stand in the question too; a program must not.
        assert suite == "cruxeval" or solution is None or solution not in question
        answer = kind.answer(task, f"So:\n```python\n{solution or 'print(1)'}\n```\n")
        sample = Sample(0, task.task_id, Row("samples", 1, answer))
        assert kind.trial(task, sample)
