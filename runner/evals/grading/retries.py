"""Several tries at one sample: again when the machine failed, and again near a limit."""

import asyncio

from runner.evals.errors import GradingFailed
from runner.evals.grading.grader import Grader
from runner.evals.samples.records import Sample, Task, Verdict
from sandbox import LayerUnavailable, PolicyError, SandboxError

INFRASTRUCTURE_TRIES = 3
RETRY_AFTER_S = 0.2
NEAR_LIMIT = 0.8
"""A pass that took more than this part of its limit is run again."""
STRETCH = 1.25


async def decide(grader: Grader, task: Task, sample: Sample, *, recheck: bool) -> Verdict:
    """The verdict that counts: retried when the machine failed, repeated near a limit.

    Raises BadInput, and what would fail for every sample: LayerUnavailable, PolicyError.
    """
    verdict = await _with_retries(grader, task, sample, 1.0)
    if not recheck or verdict.outcome == "infrastructure":
        return verdict
    limit_s = grader.cpu_limit_s()
    is_late = verdict.passed and verdict.usage.cpu_s > NEAR_LIMIT * limit_s
    if verdict.outcome != "timed_out" and not is_late:
        return verdict
    again = await _with_retries(grader, task, sample, STRETCH)
    attempts = verdict.attempts + again.attempts
    if again.outcome == "infrastructure" or again.outcome == verdict.outcome:
        return verdict.model_copy(
            update={"attempts": attempts, "flaky": "near its limit" if is_late else ""}
        )
    third = await _with_retries(grader, task, sample, 1.0)
    said = f"{verdict.outcome}, then {again.outcome} with {STRETCH} times the limit"
    winner = verdict if third.outcome == verdict.outcome else again
    return winner.model_copy(
        update={
            "attempts": attempts + third.attempts,
            "flaky": f"{said}, then {third.outcome}",
        }
    )


async def _with_retries(grader: Grader, task: Task, sample: Sample, slack: float) -> Verdict:
    for attempt in range(1, INFRASTRUCTURE_TRIES + 1):
        try:
            verdict = await grader.grade(task, sample, slack=slack)
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
