"""Several ways to go on, tried at once in branches."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple, Protocol, TypeVar

from sandbox.errors import PolicyError
from sandbox.outcome import Outcome
from sandbox.policy.arguments import texts
from sandbox.policy.limits import Limits


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


def checked_snippets(snippets: Sequence[str]) -> list[str]:
    """The snippets of a `best_of`. Raises PolicyError."""
    found = texts("snippets", snippets, "Give a list of snippets, each a str")
    if not found:
        raise PolicyError("snippets", "has none", "Give one at least")
    return found


class Branch(Protocol):
    """What runs a snippet of `best_of_branches`."""

    def run(
        self, code: str, *, limits: Limits | None = None
    ) -> Coroutine[object, object, Outcome]: ...

    async def close(self) -> None: ...


B = TypeVar("B", bound=Branch)


async def best_of_branches(
    branches: Sequence[B],
    snippets: Sequence[str],
    *,
    key: Callable[[Outcome], float] | None,
    limits: Limits | None,
    become: Callable[[B], None],
) -> BestOf:
    """Run each of `snippets` in its branch; the session goes on as the winner, all are closed."""
    try:
        runs = [
            branch.run(code, limits=limits) for branch, code in zip(branches, snippets, strict=True)
        ]
        found = await best_of(runs, key)
        if found.winner is not None:
            become(branches[found.winner])
        return found
    finally:
        await asyncio.gather(*(branch.close() for branch in branches))
