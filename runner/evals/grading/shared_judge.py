"""The bench: one jailed judge for many candidates, who answered beforehand in jails of their own.

A judge that must be asked by a living candidate shares a session with it, and each session needs
a judge of its own. This one only reads what candidates have said (see `guest/replay`), so it
stays, is told each test once, and takes several candidates at a time: a snippet of its session
costs more than what it does. What it cannot decide is left to the other way.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from runner.evals.samples.records import Json, OutcomeName
from sandbox import AsyncSandbox, AsyncSession, Completed, Limits, SandboxError

BATCH_MIN = 8
"""So many candidates make it worth the judge's while, if as many are on their way."""
BATCH_WAIT_S = 0.05
"""How long the first of them waits for the others."""
BATCH = 16
BATCH_BYTES = 4 * 1024 * 1024
ITEM_CPU_S = 2.0
TESTS_KEPT = 2048
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


@dataclass(eq=False, slots=True)
class TestPlan:
    """A task's test, as the bench knows it."""

    number: int
    """By this the judge knows it: another test has another number."""
    check: Mapping[str, Json]
    asked: str = "null"
    """What to ask a candidate beforehand, as JSON; null if nobody knows."""
    planning: "asyncio.Task[None] | None" = None


class _Item(NamedTuple):
    test: TestPlan
    said: str | None
    """What a candidate said; None asks for the plan."""
    answer: "asyncio.Future[str | None]"


class SharedJudge:
    """Judges recitals, one batch at a time. `start` is the code that finds the replay module."""

    def __init__(self, box: AsyncSandbox, start: str) -> None:
        self._box = box
        self._start = start
        self._session: AsyncSession | None = None
        self._told: set[int] = set()
        """Numbers of the tests that the judge in the session knows."""
        self._heard_bytes = 0
        self._coming = 0
        self._waiting: list[_Item] = []
        self._working: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._tests: OrderedDict[str, TestPlan] = OrderedDict()
        self._numbers = 0

    @contextmanager
    def pending(self) -> Iterator[None]:
        """Within it somebody is on the way to the judge, whom others may wait for."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._consider()

    async def plan(self, task_id: str, check: Mapping[str, Json]) -> TestPlan | None:
        """The test of a task, with what to ask a candidate beforehand; None if nobody knows."""
        test = self._tests.get(task_id)
        if test is None or test.check != check:
            self._numbers += 1
            test = self._tests[task_id] = TestPlan(self._numbers, check)
            if check["kind"] == "inputs":
                test.asked = _asked_by_inputs(check)
            elif check["kind"] == "calls":
                test.planning = asyncio.ensure_future(self._plan(test))
            if len(self._tests) > TESTS_KEPT:
                self._tests.popitem(last=False)
        self._tests.move_to_end(task_id)
        if test.planning is not None:
            await asyncio.shield(test.planning)
        return test if test.asked != "null" else None

    async def _plan(self, test: TestPlan) -> None:
        with self.pending():
            test.asked = await self._line(test, None) or "null"
        test.planning = None

    async def verdict(self, test: TestPlan, said: str) -> Said | Silence:
        """What the judge says of a candidate that wrote the lines `said`."""
        line = await self._line(test, said)
        try:
            return Said.model_validate_json(line or "")
        except ValidationError:
            return Silence(is_end=line == '{"missing": "silence"}')

    async def close(self) -> None:
        """End the judge; what waits for it is not decided."""
        if self._patience is not None:
            self._patience.cancel()
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        while self._waiting:
            self._waiting.pop().answer.cancel()
        await self._dismiss()

    async def _line(self, test: TestPlan, said: str | None) -> str | None:
        """The judge's line for `said`, or its plan; None if there is none."""
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(test, said, answer))
        self._consider()
        return await answer

    def _consider(self) -> None:
        """Begin once there is company enough, or no more of it to be had."""
        if self._working is not None or not self._waiting:
            return
        if len(self._waiting) >= min(BATCH_MIN, self._coming):
            self._begin()
        elif self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(BATCH_WAIT_S, self._begin)

    def _begin(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._working is None and self._waiting:
            self._working = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        batch, texts = self._next_batch()
        try:
            try:
                lines = await self._run(texts)
            except SandboxError:
                lines = []
            self._heard_bytes += sum(map(len, texts))
            is_whole = len(lines) == len(batch)
            if not is_whole or self._heard_bytes > RENEWED_AFTER_BYTES:
                await self._dismiss()
            for number, item in enumerate(batch):
                if not item.answer.done():
                    item.answer.set_result(lines[number] if is_whole else None)
        finally:
            for item in batch:
                item.answer.cancel()
            self._working = None
        self._consider()

    def _next_batch(self) -> tuple[list[_Item], list[str]]:
        batch: list[_Item] = []
        texts: list[str] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.pop(0))
            texts.append(self._text(batch[-1]))
            size += len(texts[-1])
        return batch, texts

    def _text(self, item: _Item) -> str:
        """`item` as JSON; the test itself only where the judge does not know it."""
        test, said = item.test, item.said
        fields = [f'"test": {test.number}']
        if test.number not in self._told:
            self._told.add(test.number)
            fields += [f'"check": {json.dumps(test.check)}', f'"asked": {test.asked}']
        if said is not None:
            fields.append(f'"said": {json.dumps(said)}')
        return "{" + ", ".join(fields) + "}"

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
        self._told.clear()
        if session is not None:
            await session.close()


def _asked_by_inputs(check: Mapping[str, Json]) -> str:
    entry, groups = check["entry"], check["groups"]
    if not (isinstance(entry, str) and isinstance(groups, dict)):
        return "null"
    calls: list[list[Json]] = []
    for rows in groups.values():
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, list):
                calls.append([entry, row[0], {"dict": []}, False])
    return json.dumps({"names": [entry], "calls": calls})
