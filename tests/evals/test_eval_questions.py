"""What a model is asked for the tasks of the published corpora, and that its answer is graded."""

from pathlib import Path

import pytest
from corpora import BIGCODEBENCH, CLASSEVAL, CONTESTS, CRUXEVAL, DABENCH, HUMANEVAL, MBPP

from runner.evals import SUITES
from runner.evals.samples import files
from runner.evals.samples.records import Row, Sample

CORPORA = {
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
    "classeval": CLASSEVAL,
    "bigcodebench": BIGCODEBENCH,
    "cruxeval": CRUXEVAL,
    "stdio": CONTESTS,
    "dabench": DABENCH,
}


@pytest.mark.parametrize(("suite", "data"), CORPORA.items())
def test_every_task_is_a_question_that_does_not_hold_its_solution(suite: str, data: Path) -> None:
    kind = SUITES[suite]()
    for task in kind.load(files.read(data).rows).values():
        question = kind.question(task)
        assert len(question) > 40
        solution = kind.canonical(task)
        # A value may well stand in the question too; a program must not.
        assert suite == "cruxeval" or solution is None or solution not in question
        answer = kind.answer(task, f"So:\n```python\n{solution or 'print(1)'}\n```\n")
        sample = Sample(0, task.task_id, Row("samples", 1, answer))
        assert kind.trial(task, sample)
