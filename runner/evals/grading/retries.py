"""Several tries at one sample: again when the machine failed, and again near a limit."""

import asyncio

from runner.evals.errors import GradingFailed
from runner.evals.grading.grader import Grader
from runner.evals.samples.records import Sample, Task, Verdict
from sandbox import LayerUnavailable, PolicyError, SandboxError

INFRASTRUCTURE_TRIES = 3
RETRY_AFTER_S = 0.2
NEAR_LIMIT = 0.8
"""What took more than this part of its limit ended near it."""


async def decide(grader: Grader, task: Task, sample: Sample, *, recheck: bool) -> Verdict:
    """The verdict that counts: retried when the machine failed, repeated near a limit.

    What was ended at its limit is not run again: that would cost the same again, and where the
    machine kept its speed it would be the same. Where it did not, the verdict is named.
    Raises BadInput, and what would fail for every sample: LayerUnavailable, PolicyError.
    """
    verdict = await _with_retries(grader, task, sample)
    share = grader.share_of_limit(verdict)
    if verdict.outcome != "timed_out" and share < NEAR_LIMIT:
        return verdict
    if verdict.outcome == "infrastructure":
        return verdict
    change = await grader.speed_change()
    doubt = "" if change == 1.0 else f"its speed was {change:.2f} times the run's beside it"
    if verdict.outcome == "timed_out":
        return verdict.model_copy(update={"flaky": doubt and f"at its limit, and {doubt}"})
    verdict = _in_time(verdict, share)
    near = "near its limit" + (doubt and f", and {doubt}")
    if not recheck:
        return verdict.model_copy(update={"flaky": near})
    again = await _with_retries(grader, task, sample)
    again = _in_time(again, grader.share_of_limit(again))
    attempts = verdict.attempts + again.attempts
    if again.outcome in ("infrastructure", verdict.outcome):
        return verdict.model_copy(update={"attempts": attempts, "flaky": near})
    third = await _with_retries(grader, task, sample)
    third = _in_time(third, grader.share_of_limit(third))
    winner = verdict if third.outcome == verdict.outcome else again
    story = f"{verdict.outcome}, then {again.outcome}, then {third.outcome}"
    return winner.model_copy(
        update={"attempts": attempts + third.attempts, "flaky": f"{near}: {story}"}
    )


def _in_time(verdict: Verdict, share: float) -> Verdict:
    """The verdict by the limit itself: candidates get a little more before they are ended."""
    if share <= 1.0 or verdict.outcome not in ("passed", "failed"):
        return verdict
    return verdict.model_copy(update={"outcome": "timed_out", "result": "timed out"})


async def _with_retries(grader: Grader, task: Task, sample: Sample) -> Verdict:
    for attempt in range(1, INFRASTRUCTURE_TRIES + 1):
        try:
            verdict = await grader.grade(task, sample)
            return verdict.model_copy(update={"attempts": attempt})
        except (LayerUnavailable, PolicyError):
            raise
        except (SandboxError, GradingFailed, OSError) as error:
            trouble = error
        if attempt < INFRASTRUCTURE_TRIES:
            await asyncio.sleep(RETRY_AFTER_S * attempt)
    return Verdict(
        outcome="infrastructure",
        result=f"infrastructure: {type(trouble).__name__}: {trouble}"[:2000],
        error=type(trouble).__name__,
        attempts=INFRASTRUCTURE_TRIES,
    )
