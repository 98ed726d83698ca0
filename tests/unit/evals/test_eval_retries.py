"""Which verdict counts: in time or not, in doubt or not, and never the machine's failure."""

from typing import cast

import pytest

from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.samples.records import OutcomeName, Row, Sample, Spent, Task, Verdict

TASK = Task("t", Row("suite", 1, {}))
SAMPLE = Sample(0, "t", Row("samples", 1, {}))


class Graded:
    """A grader with a limit of one second, whose runs and whose speed are given."""

    def __init__(self, *runs: tuple[OutcomeName, float], change: float = 1.0) -> None:
        self._runs = list(runs)
        self._change = change

    async def grade(self, _task: Task, _sample: Sample) -> Verdict:
        outcome, cpu_s = self._runs.pop(0)
        return Verdict(outcome=outcome, result=outcome, usage=Spent(cpu_s=cpu_s))

    def share_of_limit(self, verdict: Verdict) -> float:
        return verdict.usage.cpu_s

    async def speed_change(self) -> float:
        return self._change


async def decided(grader: Graded, *, recheck: bool = True) -> tuple[str, int, str]:
    verdict = await decide(cast(Grader, grader), TASK, SAMPLE, recheck=recheck)
    return verdict.outcome, verdict.attempts, verdict.flaky


@pytest.mark.parametrize("outcome", ["passed", "failed", "crashed", "out_of_memory"])
async def test_what_is_far_from_its_limit_is_decided_at_once(outcome: OutcomeName) -> None:
    assert await decided(Graded((outcome, 0.5))) == (outcome, 1, "")


async def test_what_was_ended_at_its_limit_is_not_run_again() -> None:
    assert await decided(Graded(("timed_out", 1.15))) == ("timed_out", 1, "")


async def test_what_was_ended_while_the_speed_moved_is_in_doubt() -> None:
    outcome, attempts, doubt = await decided(Graded(("timed_out", 1.15), change=1.4))
    assert (outcome, attempts) == ("timed_out", 1)
    assert doubt == "at its limit, and its speed was 1.40 times the run's beside it"


async def test_a_pass_that_took_more_than_its_limit_is_late() -> None:
    found = await decided(Graded(("passed", 1.1), ("passed", 1.05)))
    assert found == ("timed_out", 2, "near its limit")
    found = await decided(Graded(("passed", 1.1)), recheck=False)
    assert found == ("timed_out", 1, "near its limit")


async def test_three_runs_near_a_limit_decide_by_most() -> None:
    late = Graded(("passed", 0.95), ("passed", 1.05), ("passed", 1.02))
    assert await decided(late) == (
        "timed_out",
        3,
        "near its limit: passed, then timed_out, then timed_out",
    )
    good = Graded(("passed", 0.95), ("passed", 1.05), ("passed", 0.97))
    assert (await decided(good))[:2] == ("passed", 3)


async def test_a_second_run_without_a_verdict_leaves_the_first() -> None:
    runs = Graded(("passed", 0.9), ("infrastructure", 0.0))
    assert await decided(runs) == ("passed", 2, "near its limit")


def verdict(outcome: OutcomeName, error: str = "", flaky: str = "") -> Verdict:
    return Verdict(outcome=outcome, result="", error=error, flaky=flaky)


@pytest.mark.parametrize(
    ("one", "reason", "is_valid", "is_masked"),
    [
        (verdict("passed"), None, True, False),
        (verdict("passed", flaky="near its limit"), None, True, True),
        (verdict("failed", "AssertionError"), "wrong_answer", True, False),
        (verdict("failed"), "wrong_answer", True, False),
        (verdict("failed", "IndentationError"), "syntax_error", True, False),
        (verdict("failed", "KeyError"), "exception", True, False),
        (verdict("timed_out"), "timed_out", True, False),
        (verdict("out_of_memory"), "out_of_memory", True, False),
        (verdict("infrastructure", "SessionLost"), "infrastructure", False, True),
    ],
)
def test_a_verdict_says_what_a_trainer_needs(
    one: Verdict, reason: str | None, is_valid: bool, is_masked: bool
) -> None:
    assert one.failure_reason == reason
    assert one.reward_valid is is_valid
    assert one.mask_sample is is_masked
