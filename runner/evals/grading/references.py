"""The values of trusted solutions, computed once a task in a jail of their own."""

import asyncio
import json
from typing import NamedTuple

from runner.evals.errors import GradingFailed
from runner.evals.grading.snippets import REFERENCE
from runner.evals.grading.verdicts import ending
from runner.evals.samples.records import Json, Task
from runner.evals.suites.base import Reference
from sandbox import AsyncSandbox, Completed, Limits

CAP_BYTES = 1024 * 1024
"""Values that are longer are computed again by each judge: it gets the solution."""


class Referred(NamedTuple):
    """What a judge gets of a reference's values."""

    check: dict[str, Json]
    handling_s: float
    """CPU seconds to put values so long into words and to judge them: no candidate's fault."""

    @property
    def is_long(self) -> bool:
        return bool(self.handling_s)


class References:
    """By task. `start` is the code that finds the judge's parts in a jail of `box`."""

    def __init__(self, box: AsyncSandbox, start: str) -> None:
        self._box = box
        self._start = start
        self._known: dict[str, tuple[Reference, asyncio.Task[Referred]]] = {}

    async def of(self, task: Task, reference: Reference) -> Referred:
        """What is known of a task's reference. Raises GradingFailed, SandboxError."""
        of_what, known = self._known.get(task.task_id, (None, None))
        is_lost = known is not None and known.done() and (known.cancelled() or known.exception())
        if known is None or is_lost or of_what != reference:
            known = asyncio.ensure_future(self._compute(reference))
            self._known[task.task_id] = reference, known
        return await asyncio.shield(known)

    def close(self) -> None:
        """Let go of what is under way."""
        for _reference, task in self._known.values():
            task.cancel()

    async def _compute(self, reference: Reference) -> Referred:
        given = json.dumps([reference.source, reference.entry, reference.groups, reference.rule])
        outcome = await self._box.run(
            self._start + REFERENCE.format(given=given, cap=CAP_BYTES),
            limits=Limits(cpu_s=120.0, wall_s=300.0),
        )
        if not isinstance(outcome, Completed):
            raise GradingFailed(f"the reference solution did not run: {ending(outcome)}")
        found = json.loads(outcome.stdout)
        values: dict[str, list[Json]] = found["values"]
        groups: dict[str, Json] = {
            name: [
                [args, value]
                for args, value in zip(rows, values.get(name, [None] * len(rows)), strict=True)
            ]
            for name, rows in reference.groups.items()
        }
        again: list[Json] = [] if values else [reference.source, reference.entry]
        return Referred({"groups": groups, "reference": again}, found["handling_s"])
