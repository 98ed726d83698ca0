"""The shared judge takes what has come in at once, is renewed, and never decides what it cannot."""

import asyncio
import json
from typing import Any, cast

import pytest

from runner.evals.grading import shared_judge as module
from runner.evals.grading.shared_judge import (
    Ruling,
    SharedJudge,
    TestPlan,
    Undecided,
    _Worked,
)
from sandbox import AsyncSandbox, SessionLost

CHECK: dict[str, Any] = {"kind": "calls"}
UNDECIDED = Undecided(missing="another question")
PASSED = '{"outcome": "passed", "result": "passed"}'


class Judged(SharedJudge):
    """A shared judge that answers by a list of lines for each batch."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        super().__init__(cast(AsyncSandbox, None), "")
        self.batches: list[int] = []
        self.told: list[dict[str, Any]] = []
        self.dismissed = 0
        self._answers = list(answers)

    async def _run(self, items: list[str]) -> _Worked:
        self.told += map(json.loads, items)
        self.batches.append(len(items))
        await asyncio.sleep(0)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return _Worked(answer, is_judge_lost=len(answer) < len(items))

    async def _dismiss(self) -> None:
        self.dismissed += 1
        await super()._dismiss()


async def verdicts(judge: SharedJudge, count: int) -> list[Ruling | Undecided]:
    test = TestPlan(1, CHECK, "{}")
    return await asyncio.gather(*(judge.verdict(test, "") for _ in range(count)))


async def test_what_waits_is_judged_together() -> None:
    judge = Judged([PASSED], [PASSED] * 4)
    first = asyncio.ensure_future(verdicts(judge, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found = await verdicts(judge, 4)
    outcomes = [one.outcome for one in (*await first, *found) if isinstance(one, Ruling)]
    assert outcomes == ["passed"] * 5
    assert judge.batches == [1, 4]


@pytest.mark.parametrize("answer", [[], SessionLost("gone")])
async def test_a_judge_that_fails_decides_nothing_and_is_replaced(
    answer: list[str] | Exception,
) -> None:
    judge = Judged(answer, [PASSED])
    assert await verdicts(judge, 1) == [UNDECIDED]
    assert judge.dismissed == 1
    assert isinstance((await verdicts(judge, 1))[0], Ruling)


@pytest.mark.parametrize(
    ("line", "is_end"),
    [
        ('{"missing": "silence"}', True),
        ('{"missing": "another question"}', False),
        ('{"missing": "everything"}', False),
        ('{"outcome": "won", "result": ""}', False),
        ("", False),
    ],
)
async def test_only_silence_is_the_end_of_a_candidate(line: str, is_end: bool) -> None:
    [found] = await verdicts(Judged([line]), 1)
    assert isinstance(found, Undecided)
    assert found.is_end is is_end


async def test_only_the_candidate_that_was_the_end_of_a_judge_is_left_undecided() -> None:
    judge = Judged([PASSED], [PASSED] * 2)
    first = asyncio.ensure_future(verdicts(judge, 4))
    found = await first
    assert [isinstance(one, Ruling) for one in found] == [True, False, True, True]
    assert judge.batches == [4, 2]
    assert judge.dismissed == 1


async def test_a_lost_engine_leaves_a_whole_batch_undecided_at_once() -> None:
    judge = Judged(SessionLost("gone"))
    assert await verdicts(judge, 3) == [UNDECIDED] * 3
    assert judge.batches == [3]


async def test_a_judge_that_heard_much_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED_AFTER_BYTES", 10)
    judge = Judged([PASSED])
    await verdicts(judge, 1)
    assert judge.dismissed == 1


async def test_a_judge_is_told_a_test_once_and_its_successor_again() -> None:
    judge = Judged([PASSED] * 2, [PASSED], [], [PASSED])
    for count in (2, 1, 1, 1):
        await verdicts(judge, count)
    whole = {"test": 1, "check": CHECK, "asked": {}, "answers": ""}
    short = {"test": 1, "answers": ""}
    assert judge.told == [whole, short, short, short, whole]


async def test_the_judge_waits_for_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_WAIT_S", 60.0)
    judge = Judged([PASSED] * 2)
    with judge.pending():
        first = asyncio.ensure_future(verdicts(judge, 1))
        with judge.pending():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert judge.batches == []
            await verdicts(judge, 1)
        await first
    assert judge.batches == [2]


async def test_what_turns_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_WAIT_S", 60.0)
    judge = Judged([PASSED])
    with judge.pending():
        with judge.pending():
            first = asyncio.ensure_future(verdicts(judge, 1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert judge.batches == []
        await first
    assert judge.batches == [1]


async def test_no_more_than_a_few_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_WAIT_S", 60.0)
    monkeypatch.setattr(module, "BATCH_MIN", 2)
    judge = Judged([PASSED] * 2)
    with judge.pending(), judge.pending(), judge.pending():
        await verdicts(judge, 2)
    assert judge.batches == [2]


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_WAIT_S", 0.0)
    judge = Judged([PASSED])
    with judge.pending(), judge.pending():
        await verdicts(judge, 1)
    assert judge.batches == [1]


async def test_a_plan_is_asked_for_once_and_inputs_need_no_judge() -> None:
    judge = Judged(['{"names": ["f"], "calls": []}'], ["null"])
    for _ in range(2):
        found = await judge.plan("a", CHECK)
        assert found is not None
        assert found.asked == '{"names": ["f"], "calls": []}'
        assert await judge.plan("b", CHECK) is None
    assert judge.batches == [1, 1]
    inputs = {"kind": "inputs", "entry": "f", "groups": {"base": [[[1], None], [[2], None]]}}
    found = await judge.plan("c", inputs)
    assert found is not None
    assert json.loads(found.asked) == {
        "names": ["f"],
        "calls": [["f", [1], {"dict": []}, False], ["f", [2], {"dict": []}, False]],
    }
    assert await judge.plan("d", {"kind": "unittest"}) is None


async def test_many_that_want_one_plan_make_one_and_do_not_wait_for_each_other() -> None:
    judge = Judged(['{"names": ["f"], "calls": []}'])
    found = await asyncio.gather(*(judge.plan("a", CHECK) for _ in range(5)))
    assert judge.batches == [1]
    assert len({plan.number for plan in found if plan is not None}) == 1


async def test_another_test_under_the_same_id_is_another_test() -> None:
    judge = Judged(['{"names": ["f"], "calls": []}'], ['{"names": ["g"], "calls": []}'])
    one = await judge.plan("a", CHECK)
    other = await judge.plan("a", {**CHECK, "test": "g()"})
    assert one is not None
    assert other is not None
    assert one.number != other.number
    assert other.asked == '{"names": ["g"], "calls": []}'
