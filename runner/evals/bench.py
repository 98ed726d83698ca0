"""The bench: one jailed judge for many candidates, who answered beforehand in jails of their own.

A judge that must be asked by a living candidate shares a session with it, and each session needs
a judge of its own. This one only reads what candidates have said (see `guest/replay`), so it
stays, and takes whatever has come in at once. What it cannot decide is left to the other way.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from runner.evals.records import Json, OutcomeName
from sandbox import AsyncSandbox, AsyncSession, Completed, Limits, SandboxError

BATCH = 16
BATCH_BYTES = 4 * 1024 * 1024
ITEM_CPU_S = 2.0
PLANS_KEPT = 2048
RENEWED_AFTER_BYTES = 64 * 1024 * 1024
"""A session remembers what it ran; its successor starts with a memory as small as at first."""
WORK = "_replay.work(__import__('json').loads({items!a}))"


class Said(BaseModel):
    """A judge's word on one candidate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: OutcomeName
    result: str
    error: str = ""
    traceback: str = ""
    details: dict[str, object] = {}


class Silence(NamedTuple):
    """What was said does not decide. `is_end`: the test came to where the candidate ended."""

    is_end: bool


class _Item(NamedTuple):
    text: str
    answer: "asyncio.Future[str | None]"


class Bench:
    """Judges recitals, one batch at a time. `start` is the code that finds the replay module."""

    def __init__(self, box: AsyncSandbox, start: str) -> None:
        self._box = box
        self._start = start
        self._session: AsyncSession | None = None
        self._heard_bytes = 0
        self._waiting: list[_Item] = []
        self._working: asyncio.Task[None] | None = None
        self._plans: OrderedDict[str, str | None] = OrderedDict()

    async def plan(self, task_id: str, check: Mapping[str, Json]) -> str | None:
        """What to ask a candidate of this task beforehand, as JSON; None if nobody knows."""
        if task_id in self._plans:
            self._plans.move_to_end(task_id)
            return self._plans[task_id]
        asked: str | None = None
        if check["kind"] == "inputs":
            asked = _asked_by_inputs(check)
        elif check["kind"] == "calls":
            line = await self._line(f'{{"check": {json.dumps(check)}}}')
            asked = line if line != "null" else None
        self._plans[task_id] = asked
        if len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return asked

    async def verdict(self, check: Mapping[str, Json], asked: str, said: str) -> Said | Silence:
        """What the judge says of a candidate that wrote the lines `said`."""
        line = await self._line(
            f'{{"check": {json.dumps(check)}, "asked": {asked}, "said": {json.dumps(said)}}}'
        )
        try:
            return Said.model_validate_json(line or "")
        except ValidationError:
            return Silence(is_end=line == '{"missing": "silence"}')

    async def close(self) -> None:
        """End the judge; what waits for it is not decided."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        await self._dismiss()

    async def _line(self, item: str) -> str | None:
        """The judge's line for `item`; None if there is none."""
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        return await answer

    async def _work(self) -> None:
        batch: list[_Item] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    lines = await self._run([item.text for item in batch])
                except SandboxError:
                    lines = []
                self._heard_bytes += sum(len(item.text) for item in batch)
                if len(lines) != len(batch) or self._heard_bytes > RENEWED_AFTER_BYTES:
                    await self._dismiss()
                for number, item in enumerate(batch):
                    if not item.answer.done():
                        is_whole = len(lines) == len(batch)
                        item.answer.set_result(lines[number] if is_whole else None)
        finally:
            for item in (*batch, *self._waiting):
                item.answer.cancel()

    def _next_batch(self) -> list[_Item]:
        batch: list[_Item] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.pop(0))
            size += len(batch[-1].text)
        return batch

    async def _run(self, items: list[str]) -> list[str]:
        if self._session is None:
            session = self._box.session()
            await session
            self._session = session
            begun = await session.run(self._start)
            if not isinstance(begun, Completed):
                return []
        cpu_s = ITEM_CPU_S * len(items)
        outcome = await self._session.run(
            WORK.format(items="[" + ",".join(items) + "]"),
            limits=Limits(cpu_s=cpu_s, wall_s=4 * cpu_s),
        )
        if not isinstance(outcome, Completed) or outcome.truncated.stdout.dropped_bytes:
            return []
        return outcome.stdout.splitlines()

    async def _dismiss(self) -> None:
        session, self._session = self._session, None
        self._heard_bytes = 0
        if session is not None:
            await session.close()


def _asked_by_inputs(check: Mapping[str, Json]) -> str | None:
    entry, groups = check["entry"], check["groups"]
    if not (isinstance(entry, str) and isinstance(groups, dict)):
        return None
    calls: list[list[Json]] = []
    for rows in groups.values():
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, list):
                calls.append([entry, row[0], {"dict": []}, False])
    return json.dumps({"names": [entry], "calls": calls})
