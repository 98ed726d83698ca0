"""Sandboxes as the benchmarks need them: started, checked, and at rest between two samples."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox import AsyncSandbox, Completed, Limits, Outcome, Policy
from sandbox.policy.policy import Module

PRELOAD: tuple[Module, ...] = ("pandas",)


@asynccontextmanager
async def sandbox(
    *preload: str, pool_size: int = 0, survive: bool = True, limits: Limits | None = None
) -> AsyncIterator[AsyncSandbox]:
    """A started sandbox in the default tier, every layer on."""
    policy = Policy(preload=preload, survive=survive, limits=limits or Limits())
    async with AsyncSandbox(policy, pool_size=pool_size) as box:
        await at_rest(box)
        await alone(box)
        yield box


async def alone(box: AsyncSandbox) -> None:
    """End the process that compiles packages ahead: it wants a processor for minutes."""
    byte_code = box._supply._byte_code
    if byte_code is not None:
        await asyncio.to_thread(byte_code.stop)


async def at_rest(box: AsyncSandbox) -> None:
    """Return when the pool is full again and nothing is left of workers that were given back."""
    pool = box._supply.pool
    assert pool is not None
    await pool.fill()
    while pool._tasks:
        await asyncio.wait(set(pool._tasks))


def completed(outcome: Outcome, *, stdout: str | None = None, text: str | None = None) -> Completed:
    """`outcome`, if it is what the benchmark counts on. Raises RuntimeError if not."""
    if not isinstance(outcome, Completed):
        raise RuntimeError(f"a snippet did not complete: {outcome}")
    if stdout is not None and outcome.stdout != stdout:
        raise RuntimeError(f"a snippet printed {outcome.stdout[:200]!r}")
    if text is not None and outcome.text != text:
        raise RuntimeError(f"a snippet echoed {outcome.text!r}")
    return outcome
