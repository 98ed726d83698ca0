"""The bench takes what has come in at once, is renewed, and never decides what it cannot."""

import asyncio
import json
from typing import Any, cast

import pytest

from runner.evals import bench as module
from runner.evals.bench import Bench, Said, Silence
from sandbox import AsyncSandbox, SessionLost

CHECK: dict[str, Any] = {"kind": "calls"}
PASSED = '{"outcome": "passed", "result": "passed"}'


class Judged(Bench):
    """A bench whose judge answers by a list of lines for each batch."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        super().__init__(cast(AsyncSandbox, None), "")
        self.batches: list[int] = []
        self.dismissed = 0
        self._answers = list(answers)

    async def _run(self, items: list[str]) -> list[str]:
        assert all(json.loads(item)["check"] == CHECK for item in items)
        self.batches.append(len(items))
        await asyncio.sleep(0)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _dismiss(self) -> None:
        self.dismissed += 1
        await super()._dismiss()


async def verdicts(bench: Bench, count: int) -> list[Said | Silence]:
    return await asyncio.gather(*(bench.verdict(CHECK, "{}", "") for _ in range(count)))


async def test_what_waits_is_judged_together() -> None:
    bench = Judged([PASSED], [PASSED] * 4)
    first = asyncio.ensure_future(verdicts(bench, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found = await verdicts(bench, 4)
    outcomes = [one.outcome for one in (*await first, *found) if isinstance(one, Said)]
    assert outcomes == ["passed"] * 5
    assert bench.batches == [1, 4]


@pytest.mark.parametrize("answer", [[], [PASSED, PASSED], SessionLost("gone")])
async def test_a_judge_that_fails_decides_nothing_and_is_replaced(
    answer: list[str] | Exception,
) -> None:
    bench = Judged(answer, [PASSED])
    assert await verdicts(bench, 1) == [Silence(is_end=False)]
    assert bench.dismissed == 1
    assert isinstance((await verdicts(bench, 1))[0], Said)


@pytest.mark.parametrize(
    ("line", "is_end"),
    [
        ('{"missing": "silence"}', True),
        ('{"missing": "another question"}', False),
        ('{"outcome": "won", "result": ""}', False),
        ("", False),
    ],
)
async def test_only_silence_is_the_end_of_a_candidate(line: str, is_end: bool) -> None:
    assert await verdicts(Judged([line]), 1) == [Silence(is_end=is_end)]


async def test_a_judge_that_heard_much_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED_AFTER_BYTES", 10)
    bench = Judged([PASSED])
    await verdicts(bench, 1)
    assert bench.dismissed == 1


async def test_a_plan_is_asked_for_once_and_inputs_need_no_judge() -> None:
    bench = Judged(['{"names": ["f"], "calls": []}'], ["null"])
    for _ in range(2):
        assert await bench.plan("a", CHECK) == '{"names": ["f"], "calls": []}'
        assert await bench.plan("b", CHECK) is None
    assert bench.batches == [1, 1]
    inputs = {"kind": "inputs", "entry": "f", "groups": {"base": [[[1], None], [[2], None]]}}
    asked = await bench.plan("c", inputs)
    assert json.loads(asked or "") == {
        "names": ["f"],
        "calls": [["f", [1], {"dict": []}, False], ["f", [2], {"dict": []}, False]],
    }
    assert await bench.plan("d", {"kind": "unittest"}) is None
