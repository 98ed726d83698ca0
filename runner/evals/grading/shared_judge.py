"""One jailed judge for many candidates, which answered beforehand in jails of their own.

A judge that must ask a living candidate shares a session with it, and each session needs a judge
of its own. This one only reads what candidates have answered (see `guest/replay`), so it stays,
gets each test once, and takes several candidates at a time: a snippet of its session costs
more than what it does. What it cannot decide is left to the other way; and where one candidate's
answers are the end of it, so is that candidate, and the others go to its successor.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from runner.evals.samples.records import Json, OutcomeName
from sandbox import AsyncSandbox, AsyncSession, Completed, Limits, SandboxError

BATCH_MIN = 8
"""Start a batch at this many waiting candidates, or fewer if no more are pending."""
BATCH_WAIT_S = 0.05
"""How long the first of them waits for the others."""
BATCH = 16
BATCH_BYTES = 4 * 1024 * 1024
BATCH_CPU_S = 2.0
ITEM_CPU_S = 0.05
MIB_CPU_S = 1.0
"""CPU seconds of a batch: at least, for each candidate in it, and for each MiB of answers."""
TESTS_KEPT = 2048
RENEWED_AFTER_BYTES = 64 * 1024 * 1024
"""A session remembers what it ran; its successor starts with a memory as small as at first."""
WORK = "_replay.work(__import__('json').loads({items!a}))"
NOTHING = '{"names": [], "calls": []}'
UNKNOWN = "null"
"""What a candidate has to be asked, as JSON, where no plan could be made."""


class Ruling(BaseModel):
    """A judge's verdict on one candidate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: OutcomeName
    result: str
    error: str = ""
    traceback: str = ""
    details: dict[str, object] = {}


class Undecided(BaseModel):
    """The answers do not decide: the test asked for another one, or for one after the last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: Literal["silence", "another question"]

    @property
    def is_end(self) -> bool:
        """Whether the test came to where the candidate ended."""
        return self.missing == "silence"


NO_JUDGE = Undecided(missing="another question")
"""What there is to say where no judge could be asked."""
_ANSWERS: TypeAdapter[Ruling | Undecided] = TypeAdapter(Ruling | Undecided)


@dataclass(eq=False, slots=True)
class TestPlan:
    """A task's test, and what a candidate is asked for it beforehand."""

    __test__: ClassVar[bool] = False  # For pytest: this is no test of ours.

    number: int
    """By this the judge knows it: another test has another number."""
    check: Mapping[str, Json]
    asked: str = UNKNOWN
    planning: "asyncio.Task[None] | None" = None


class _Item(NamedTuple):
    test: TestPlan
    answers: str | None
    """What a candidate answered; None asks for the plan."""
    line: "asyncio.Future[str | None]"


class _Worked(NamedTuple):
    lines: list[str]
    """For the first of the items, in order."""
    is_judge_lost: bool


class SharedJudge:
    """Judges answers, one batch at a time. `start` is the code that finds the replay module."""

    def __init__(self, box: AsyncSandbox, start: str) -> None:
        self._box = box
        self._start = start
        self._session: AsyncSession | None = None
        self._known: set[int] = set()
        """Numbers of the tests that the judge in the session knows."""
        self._read_bytes = 0
        self._pending = 0
        self._waiting: deque[_Item] = deque()
        self._working: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tests: OrderedDict[str, TestPlan] = OrderedDict()
        self._numbers = 0

    @contextmanager
    def pending(self) -> Iterator[None]:
        """Within it a candidate is about to come, for which others may wait."""
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1
            self._consider()

    async def plan(self, task_id: str, check: Mapping[str, Json]) -> TestPlan | None:
        """The test of a task, with what to ask a candidate beforehand; None if that is unknown."""
        test = self._tests.get(task_id)
        if test is None or test.check != check:
            self._numbers += 1
            test = self._tests[task_id] = TestPlan(self._numbers, check)
            if check["kind"] == "inputs":
                test.asked = _asked_by_inputs(check)
            elif check["kind"] == "value":
                test.asked = NOTHING
            elif check["kind"] == "calls":
                test.planning = asyncio.ensure_future(self._plan(test))
            if len(self._tests) > TESTS_KEPT:
                self._tests.popitem(last=False)
        self._tests.move_to_end(task_id)
        if test.planning is not None:
            await asyncio.shield(test.planning)
        return test if test.asked != UNKNOWN else None

    async def _plan(self, test: TestPlan) -> None:
        with self.pending():
            test.asked = await self._line(test, None) or UNKNOWN
        test.planning = None

    async def verdict(self, test: TestPlan, answers: str) -> Ruling | Undecided:
        """What the judge says of a candidate that wrote the lines `answers`."""
        line = await self._line(test, answers)
        try:
            return _ANSWERS.validate_json(line or "")
        except ValidationError:
            return NO_JUDGE

    async def close(self) -> None:
        """End the judge; what waits for it is not decided."""
        if self._timer is not None:
            self._timer.cancel()
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        while self._waiting:
            self._waiting.pop().line.cancel()
        await self._dismiss()

    async def _line(self, test: TestPlan, answers: str | None) -> str | None:
        """The judge's line for `answers`, or its plan; None if there is none."""
        line: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(test, answers, line))
        self._consider()
        return await line

    def _consider(self) -> None:
        """Begin once enough are waiting, or no more are pending."""
        if self._working is not None or not self._waiting:
            return
        if len(self._waiting) >= min(BATCH_MIN, self._pending):
            self._begin()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(BATCH_WAIT_S, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._working is None and self._waiting:
            self._working = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        batch, texts = self._next_batch()
        try:
            try:
                worked = await self._run(texts)
            except SandboxError:
                # No candidate's doing: none of them may wait for the next failure.
                worked = _Worked([], is_judge_lost=True)
                _settle(batch, [None] * len(batch))
            self._read_bytes += sum(map(len, texts))
            if worked.is_judge_lost or self._read_bytes > RENEWED_AFTER_BYTES:
                await self._dismiss()
            # The first without a line was the end of the judge; the others are to try the next.
            _settle(batch, [*worked.lines, None])
            self._waiting.extendleft(item for item in reversed(batch) if not item.line.done())
        except BaseException:
            for item in batch:
                item.line.cancel()
            raise
        finally:
            self._working = None
        self._consider()

    def _next_batch(self) -> tuple[list[_Item], list[str]]:
        batch: list[_Item] = []
        texts: list[str] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            texts.append(self._text(batch[-1]))
            size += len(texts[-1])
        return batch, texts

    def _text(self, item: _Item) -> str:
        """`item` as JSON; the test itself only where the judge does not know it."""
        test = item.test
        fields = [f'"test": {test.number}']
        if test.number not in self._known:
            self._known.add(test.number)
            fields += [f'"check": {json.dumps(test.check)}', f'"asked": {test.asked}']
        if item.answers is not None:
            fields.append(f'"answers": {json.dumps(item.answers)}')
        return "{" + ", ".join(fields) + "}"

    async def _run(self, items: list[str]) -> _Worked:
        if self._session is None:
            session = self._box.session()
            await session
            self._session = session
            begun = await session.run(self._start)
            if not isinstance(begun, Completed):
                raise SandboxError("the shared judge did not start")
        size_mib = sum(map(len, items)) / (1 << 20)
        cpu_s = BATCH_CPU_S + ITEM_CPU_S * len(items) + MIB_CPU_S * size_mib
        outcome = await self._session.run(
            WORK.format(items="[" + ",".join(items) + "]"),
            limits=Limits(cpu_s=cpu_s, wall_s=4 * cpu_s),
        )
        if outcome.truncated.stdout.dropped_bytes:
            return _Worked([], is_judge_lost=True)
        lines = [line for line in outcome.stdout.splitlines(keepends=True) if line.endswith("\n")]
        is_whole = isinstance(outcome, Completed) and len(lines) == len(items)
        return _Worked(lines[: len(items)], is_judge_lost=not is_whole)

    async def _dismiss(self) -> None:
        session, self._session = self._session, None
        self._read_bytes = 0
        self._known.clear()
        if session is not None:
            await session.close()


def _settle(batch: list[_Item], lines: list[str | None]) -> None:
    """Give the first of a batch their lines."""
    for item, line in zip(batch, lines, strict=False):
        if not item.line.done():
            item.line.set_result(line)


def _asked_by_inputs(check: Mapping[str, Json]) -> str:
    entry, groups = check["entry"], check["groups"]
    if not (isinstance(entry, str) and isinstance(groups, dict)):
        return UNKNOWN
    calls: list[list[Json]] = []
    for rows in groups.values():
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, list):
                calls.append([entry, row[0], {"dict": []}, False])
    return json.dumps({"names": [entry], "calls": calls})
