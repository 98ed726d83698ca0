"""How a run in a jail ended, as a verdict: by its judge's ruling, or by the engine's."""

from runner.evals.errors import GradingFailed
from runner.evals.grading.shared_judge import Ruling
from runner.evals.samples.records import OutcomeName, Spent, Verdict
from sandbox import Died, LimitExceeded, Outcome, Raised, Refused

STDERR_CAP = 16 * 1024
LIMIT_OUTCOMES: dict[str, OutcomeName] = {
    "cpu_s": "timed_out",
    "wall_s": "timed_out",
    "memory_bytes": "out_of_memory",
}


def by_ruling(ruling: Ruling, outcome: Outcome | None = None) -> Verdict:
    """The judge's ruling as a verdict, with `outcome` where the candidate ran.

    Raises GradingFailed where it is not about the sample.
    """
    if ruling.outcome == "infrastructure":
        raise GradingFailed(f"the test cannot run here: {ruling.result}")
    if outcome is None:
        return Verdict(
            outcome=ruling.outcome,
            result=ruling.result,
            error=ruling.error,
            stderr=ruling.traceback,
            details=ruling.details,
        )
    is_short = ruling.outcome == "crashed" and _was_short_of_memory(outcome)
    return Verdict(
        outcome="out_of_memory" if is_short else ruling.outcome,
        result=ruling.result,
        error=ruling.error,
        stderr=ruling.traceback or outcome.stderr[-STDERR_CAP:],
        details=ruling.details,
        usage=spent_by(outcome),
    )


def by_end(
    outcome: LimitExceeded | Refused | Died,
    usage: Spent,
    stderr: str,
    details: dict[str, object] | None = None,
) -> Verdict:
    """The verdict of a run that was ended, or that ended without a word."""
    name: OutcomeName
    if isinstance(outcome, LimitExceeded):
        name = LIMIT_OUTCOMES.get(outcome.limit, "failed")
    elif isinstance(outcome, Refused):
        name = "refused"
    else:
        name = "out_of_memory" if _was_short_of_memory(outcome) else "crashed"
    result = "timed out" if name == "timed_out" else f"{name}: {ending(outcome)}"
    return Verdict(outcome=name, result=result, stderr=stderr, usage=usage, details=details or {})


def ending(outcome: Outcome) -> str:
    """How a snippet ended, in a few words."""
    if isinstance(outcome, Raised):
        return f"{outcome.error.type}: {outcome.error.message}"[:500]
    if isinstance(outcome, LimitExceeded):
        return f"over {outcome.limit}, {outcome.allowed:g} allowed, {outcome.observed:g} seen"
    if isinstance(outcome, Died):
        how = outcome.signal or f"status {outcome.exit_code}"
        return f"the process ended with {how}"
    if isinstance(outcome, Refused):
        return outcome.reason
    return "it completed"


def _was_short_of_memory(outcome: Outcome) -> bool:
    return any(denial.rule == "memory_bytes" for denial in outcome.denials)


def spent_by(outcome: Outcome) -> Spent:
    usage = outcome.usage
    return Spent(
        wall_s=round(usage.wall_s, 6),
        cpu_s=round(usage.cpu_user_s + usage.cpu_system_s, 6),
        peak_memory_bytes=usage.peak_memory_bytes,
    )


def most_of(one: Spent, other: Spent) -> Spent:
    return Spent(
        wall_s=max(one.wall_s, other.wall_s),
        cpu_s=max(one.cpu_s, other.cpu_s),
        peak_memory_bytes=max(one.peak_memory_bytes, other.peak_memory_bytes),
    )
