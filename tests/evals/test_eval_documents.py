"""docs/evals.md keeps its word: its files are graded and its Python is run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runner.evals import SUITES, evaluate
from runner.evals.suites import custom

TEXT = (Path(__file__).parents[2] / "docs" / "evals.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = [text for kind, text in BLOCKS if kind == "json"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in zip(("tasks.jsonl", "samples.jsonl", "stdio.jsonl"), FILES, strict=True):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_suite_and_every_field_of_custom_is_there() -> None:
    rows = set(re.findall(r"^\| `([\w-]+)`", TEXT, re.MULTILINE))
    assert set(SUITES) <= rows
    assert custom.__doc__ is not None
    assert set(re.findall(r"^\| `(\w+)`", custom.__doc__, re.MULTILINE)) <= rows


def test_the_sample_of_stdio_is_graded(folder: Path) -> None:
    samples: list[dict[str, Any]] = [{"task_id": "double", "solution": "print(2 * int(input()))"}]
    assert evaluate("stdio", samples, data=folder / "stdio.jsonl").verdicts[0].passed
    assert json.loads((folder / "stdio.jsonl").read_text())["task_id"] == "double"


def test_the_python_runs_and_trainers_get_rewards(folder: Path) -> None:
    assert (folder / "tasks.jsonl").exists()
    names: dict[str, Any] = {}
    try:
        for kind, text in BLOCKS:
            if kind == "python":
                exec(text, names)
        chat = [[{"role": "assistant", "content": "```python\ndef inc(x): return x + 1\n```"}]]
        tests = ["assert inc(1) == 2"]
        assert names["solves"](prompts=["p"], completions=chat, test=tests) == [1.0]
        environment = names["PythonEnvironment"]()
        environment.reset(prompt="p", test=tests[0])
        assert "ZeroDivisionError" in environment.python("1 / 0")
        assert environment.python("def inc(x): return x + 1\ninc(3)") == "4"
        assert environment.get_reward() == 1.0
        environment._session.close()
        score = names["compute_score"]("mine", "def inc(x): return x", tests[0], extra_info={})
        assert score == {"score": 0.0, "mask_sample": False}
    finally:
        for name in ("rewards", "box"):
            if name in names:
                names[name].__exit__(None, None, None)
