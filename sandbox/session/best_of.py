"""Several ways to go on, tried at once in branches."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from sandbox.outcome import Outcome


class BestOf(NamedTuple):
    """What `best_of` came to: the index of the winner, None if nothing completed."""

    winner: int | None
    outcomes: tuple[Outcome, ...]


async def best_of(
    runs: Sequence[Coroutine[object, object, Outcome]], key: Callable[[Outcome], float] | None
) -> BestOf:
    """Wait for all of `runs`; the completed one with the highest `key` wins, the first of equals.

    Without a key it is the first that completed.
    """
    outcomes = await asyncio.gather(*runs)
    completed = [i for i, outcome in enumerate(outcomes) if outcome.status == "completed"]
    if not completed:
        return BestOf(None, tuple(outcomes))
    scores = {i: key(outcomes[i]) if key is not None else 0.0 for i in completed}
    winner = max(completed, key=lambda index: (scores[index], -index))
    return BestOf(winner, tuple(outcomes))
