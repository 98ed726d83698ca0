"""pass@k and counts from verdicts. Pure: no files, no clock."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

from runner.evals.samples.records import OutcomeName


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of `k` samples, drawn from `n` of which `c` pass, passes: unbiased.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1.
    """
    if not 0 <= c <= n or k < 1:
        raise ValueError(f"no estimate for n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return 1.0 - prod(1.0 - k / value for value in range(n - c + 1, n + 1))


class Score(NamedTuple):
    """What a run comes to. Infrastructure is in `outcomes` and in nothing else."""

    tasks: int
    samples: int
    outcomes: dict[str, int]
    pass_at: dict[int, float]
    """By k; only where every task has that many samples with a verdict."""
    excluded: int
    """Samples without a verdict."""
    tasks_without_samples: int


def score(
    verdicts: Iterable[tuple[str, OutcomeName]], ks: Sequence[int], *, tasks: int | None = None
) -> Score:
    """The score of (task id, outcome) pairs; `tasks` is how many the suite has."""
    outcomes: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    right: Counter[str] = Counter()
    seen: set[str] = set()
    for task_id, outcome in verdicts:
        outcomes[outcome] += 1
        seen.add(task_id)
        if outcome == "infrastructure":
            continue
        tried[task_id] += 1
        right[task_id] += outcome == "passed"
    fewest = min((tried[task] for task in seen), default=0)
    pass_at = {
        k: sum(pass_at_k(tried[task], right[task], k) for task in tried) / len(tried)
        for k in ks
        if tried and k <= fewest
    }
    return Score(
        tasks=len(seen),
        samples=sum(outcomes.values()),
        outcomes=dict(outcomes),
        pass_at=pass_at,
        excluded=outcomes["infrastructure"],
        tasks_without_samples=max(0, (tasks or len(seen)) - len(seen)),
    )
