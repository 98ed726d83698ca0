"""No candidate passes by anything but right answers; what else it does is told as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from forging import (
    CLASS_FORGERIES,
    CLASS_TASK,
    FUNCTION_FORGERIES,
    FUNCTION_TASK,
    LIVE_TASK,
    PROGRAM_FORGERIES,
    PROGRAM_TASK,
    Forgery,
)

from runner.evals import Report, evaluate


def _alive(forgery: Forgery) -> dict[str, Any]:
    """What changes where the judge lives beside the candidate."""
    outcome, said = forgery.asked_alive or (forgery.outcome, forgery.said)
    return {"outcome": outcome, "said": said}


ALL = (
    *((FUNCTION_TASK["task_id"], one) for one in FUNCTION_FORGERIES),
    *((LIVE_TASK["task_id"], one._replace(**_alive(one))) for one in FUNCTION_FORGERIES),
    *((CLASS_TASK["task_id"], one) for one in CLASS_FORGERIES),
    *((str(PROGRAM_TASK["task_id"]), one) for one in PROGRAM_FORGERIES),
)
HONEST = (
    ("double", "def double(x):\n    return x * 2\n"),
    ("double", "def double(x):\n    print('passed')\n    return x + x\n"),
    ("double, asked alive", "def double(x):\n    return x * 2\n"),
    ("stack", "class Stack(list):\n    push = list.append\n    size = list.__len__\n"),
    ("sum", "print(sum(map(int, input().split())))"),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All candidates graded in one run, forged and honest ones."""
    data: Path = tmp_path_factory.mktemp("forging") / "tasks.jsonl"
    tasks = (FUNCTION_TASK, LIVE_TASK, CLASS_TASK, PROGRAM_TASK)
    data.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    samples = [{"task_id": task, "solution": one.code} for task, one in ALL]
    samples += [{"task_id": task, "solution": code} for task, code in HONEST]
    return evaluate("custom", samples, data=data, timeout_s=1.0, recheck=False)


@pytest.mark.parametrize(
    ("index", "forgery"),
    [pytest.param(index, one, id=f"{task}: {one.name}") for index, (task, one) in enumerate(ALL)],
)
def test_a_forgery_counts_as_what_it_is(report: Report, index: int, forgery: Forgery) -> None:
    verdict = report.verdicts[index]
    assert (verdict.outcome, forgery.said in verdict.result) == (forgery.outcome, True), verdict


@pytest.mark.parametrize("index", range(len(HONEST)))
def test_an_honest_answer_passes_beside_them(report: Report, index: int) -> None:
    assert report.verdicts[len(ALL) + index].outcome == "passed"
