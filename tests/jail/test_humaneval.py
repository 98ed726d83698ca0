"""Every canonical solution passes its test in a jail of its own; a wrong one fails."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox
from sandbox.outcome import Completed, Raised
from tests.corpora import BOTH, Corpora
from tests.jail import replays
from tests.jail.replays import Task

TASKS = {"own": 12, "published": 164}
ANSWER_NOTHING = "    return None\n"
LEAVE_A_MARK = """
from pathlib import Path
assert "mark" not in globals()
mark = [Path(place) for place in ("mark", "/tmp/mark", "/dev/shm/mark")]
for path in mark:
    path.open("x").close()
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(Policy()) as opened:
        yield opened


@pytest.fixture(scope="module", params=BOTH)
def tasks(request: pytest.FixtureRequest) -> list[Task]:
    corpora: Corpora = request.param
    found = replays.tasks(corpora)
    assert len({task.task_id for task in found}) == TASKS[corpora.name]
    return found


def test_every_canonical_solution_passes_its_test(box: Sandbox, tasks: list[Task]) -> None:
    programs = [task.program(task.canonical_solution) for task in tasks]
    outcomes = [outcome for _, outcome in box.map(programs)]
    failed = {
        task.task_id: replays.shown(outcome)
        for task, outcome in zip(tasks, outcomes, strict=True)
        if not isinstance(outcome, Completed) or outcome.denials
    }
    print(f"{len(tasks) - len(failed)} of {len(tasks)} canonical solutions pass")
    assert failed == {}


def test_a_function_that_answers_nothing_passes_no_test(box: Sandbox, tasks: list[Task]) -> None:
    programs = [task.program(ANSWER_NOTHING) for task in tasks]
    passed = [
        tasks[index].task_id
        for index, outcome in box.map(programs)
        if not isinstance(outcome, Raised)
    ]
    assert passed == []


def test_a_wrong_solution_is_raised_as_the_assertion_that_it_broke(
    box: Sandbox, tasks: list[Task]
) -> None:
    outcome = box.run(tasks[0].program("    return 'wrong'\n"))
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "AssertionError"
    assert "in check" in outcome.error.traceback


def test_no_solution_finds_what_another_one_left(box: Sandbox, tasks: list[Task]) -> None:
    programs = [task.program(task.canonical_solution) + LEAVE_A_MARK for task in tasks[:20]]
    outcomes = [outcome for _, outcome in box.map(programs)]
    assert [outcome.status for outcome in outcomes] == ["completed"] * len(programs)
    left = {tuple(artifact.path for artifact in outcome.artifacts) for outcome in outcomes}
    assert left == {("/tmp/mark", "mark")}
