"""Samples drawn from a model are kept as they come, gone on with, and never asked for twice."""

import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UpstreamError
from runner.evals import BadInput, Draw, GenerationFailed, generate
from runner.evals.samples.records import Row, Task
from runner.evals.suites import SUITES
from runner.events import ReasoningDelta, TextDelta
from runner.models.port import ModelEvent, ModelRequest, TurnEnded

TASKS = [{"task_id": name, "prompt": f"Write {name}.", "test": f"assert {name}()"} for name in "ab"]


class Answering:
    """A model that answers by a function of the request."""

    def __init__(self, answer: Callable[[ModelRequest], str]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, int | None]] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        [question] = [getattr(entry, "text", "") for entry in request.entries]
        self.asked.append((question.partition("\n")[0], request.sampling.seed))
        text = self._answer(request)
        yield ReasoningDelta("```python\nnot this\n```")
        for part in (text[:5], text[5:]):
            yield TextDelta(part)
        yield TurnEnded("stop")

    async def close(self) -> None: ...


def answer(_request: ModelRequest) -> str:
    return "Here:\n```python\ndef f(): pass\n```\nDone."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_task_gets_as_many_answers_as_were_asked_for(
    tmp_path: Path, data: Path
) -> None:
    out, model = tmp_path / "samples.jsonl", Answering(answer)
    seen: list[tuple[int, int]] = []
    draw = Draw(model="m", samples=2, temperature=0.5, at_once=1)
    count = await generate(
        "custom", model, draw, out, data=data, progress=lambda *event: seen.append(event)
    )
    assert count == 4
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert model.asked == [("Write a.", 0), ("Write b.", 0), ("Write a.", 1), ("Write b.", 1)]
    assert read(out)[3] == {
        "task_id": "b",
        "sample_id": "b#1",
        "solution": "def f(): pass\n",
        "answer": "Here:\n```python\ndef f(): pass\n```\nDone.",
        "model": "m",
        "temperature": 0.5,
    }


async def test_a_resumed_draw_asks_only_for_what_is_missing(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "samples.jsonl"
    draw = Draw(model="m", samples=2)
    await generate("custom", Answering(answer), draw, out, data=data)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:2]) + lines[2][:20])
    model = Answering(answer)
    assert await generate("custom", model, draw, out, data=data, resume=True) == 2
    assert sorted(row["sample_id"] for row in read(out)) == ["a#0", "a#1", "b#0", "b#1"]
    assert len(model.asked) == 2
    assert await generate("custom", model, draw, out, data=data, resume=True) == 0


async def test_samples_that_are_there_are_not_written_over(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "samples.jsonl"
    out.write_text("{}\n")
    with pytest.raises(BadInput, match="holds samples already"):
        await generate("custom", Answering(answer), Draw(model="m"), out, data=data)
    assert out.read_text() == "{}\n"


async def test_what_an_endpoint_leaves_out_is_told_and_the_rest_is_kept(
    tmp_path: Path, data: Path
) -> None:
    def fail(request: ModelRequest) -> str:
        if "Write a" in getattr(request.entries[0], "text", ""):
            raise UpstreamError("down", "no connection")
        return answer(request)

    out = tmp_path / "samples.jsonl"
    with pytest.raises(GenerationFailed) as caught:
        await generate("custom", Answering(fail), Draw(model="m", samples=3), out, data=data)
    assert (caught.value.missing, caught.value.saved) == (3, 3)
    assert [row["sample_id"] for row in read(out)] == ["b#0", "b#1", "b#2"]
    assert (
        await generate(
            "custom", Answering(answer), Draw(model="m", samples=3), out, data=data, resume=True
        )
        == 3
    )


PROMPT = "import re\n\ndef g():\n    return 1\n\ndef f(x):\n    '''Do it.'''\n"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("```python\n    return g()\n```", {"completion": "    return g()\n"}),
        (
            "```python\ndef f(x):\n    return g()\n```",
            {"solution": f"{PROMPT}\n    pass\n\ndef f(x):\n    return g()\n"},
        ),
    ],
)
@pytest.mark.parametrize("suite", ["humaneval", "humaneval-plus", "bigcodebench"])
def test_an_answer_goes_on_from_the_prompt_or_stands_behind_it(
    suite: str, text: str, fields: dict[str, str]
) -> None:
    task = Task("t", Row("suite", 1, {"prompt": PROMPT, "entry_point": "f"}))
    assert SUITES[suite]().answer(task, text) == fields
