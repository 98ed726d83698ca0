"""`cellblock eval --model` asks, keeps and grades; with --resume it asks for nothing twice."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner.commands.eval import eval_command
from runner.commands.model import model_group
from runner.evals import SUITES
from runner.evals.samples.records import Row, Task
from runner.events import TextDelta
from runner.models.port import ModelRequest, Sampling, TurnEnded
from runner.models.replay import exchange_line
from runner.transcript import Question
from tests.corpora import OWN, rows

FEW = 3


@pytest.fixture
def few(tmp_path: Path) -> Path:
    path = tmp_path / "HumanEval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in OWN.rows("humaneval")[:FEW]))
    return path


def recorded(tmp_path: Path, few: Path, seeds: range) -> Path:
    """Settings with a model "m" that answers rightly to the first draw and wrongly to others."""
    suite = SUITES["humaneval"]()
    lines = []
    for row in rows(few):
        task = Task(row["task_id"], Row("suite", 1, row))
        for seed in seeds:
            request = ModelRequest(
                entries=(Question(text=suite.question(task)),),
                sampling=Sampling(temperature=0.8, seed=seed),
            )
            code = row["prompt"] + row["canonical_solution"] if seed == 0 else "    return 0\n"
            text = f"So:\n```python\n{code}```\n"
            lines.append(exchange_line(request, [TextDelta(text), TurnEnded("stop")]) + "\n")
    recording = tmp_path / "recording.jsonl"
    recording.write_text("".join(lines))
    config = tmp_path / "config.toml"
    config.write_text(f'[models.m]\nkind = "replay"\npath = "{recording}"\n')
    return config


def run(tmp_path: Path, few: Path, config: Path, *more: str) -> Result:
    return CliRunner().invoke(
        eval_command,
        [
            "humaneval",
            str(tmp_path / "s.jsonl"),
            "--data",
            str(few),
            "--model",
            "m",
            "--config",
            str(config),
            "--temperature",
            "0.8",
            "--json",
            *more,
        ],
    )


def test_a_model_is_asked_graded_and_not_asked_again(tmp_path: Path, few: Path) -> None:
    config = recorded(tmp_path, few, range(2))
    first = run(tmp_path, few, config, "--generations", "2")
    assert first.exit_code == 0, first.output
    assert f"{2 * FEW}/{2 * FEW} answers of m" in first.stderr
    assert json.loads(first.stdout)["pass_at"] == {"pass@1": 0.5}
    assert len(rows(tmp_path / "s.jsonl")) == 2 * FEW
    config.write_text('[models.m]\nkind = "replay"\npath = "/dev/null"\n')
    again = run(tmp_path, few, config, "--generations", "2", "--resume")
    assert json.loads(again.stdout)["pass_at"] == {"pass@1": 0.5}
    twice = run(tmp_path, few, config)
    assert twice.exit_code == 2
    assert "holds samples already" in twice.stderr


def test_an_endpoint_that_does_not_answer_exits_with_3_and_keeps_the_rest(
    tmp_path: Path, few: Path
) -> None:
    config = recorded(tmp_path, few, range(1))
    result = run(tmp_path, few, config, "--draws", "2")
    assert result.exit_code == 3
    assert f"{FEW} answers did not come" in result.stderr
    assert len(rows(tmp_path / "s.jsonl")) == FEW


def test_a_model_that_nobody_configured_is_bad_input(tmp_path: Path, few: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    result = run(tmp_path, few, config)
    assert result.exit_code == 2
    assert "There is no model yet" in result.stderr
    config.write_text('[models.n]\nkind = "replay"\npath = "/dev/null"\n')
    result = run(tmp_path, few, config)
    assert result.exit_code == 2
    assert "`m` does not exist" in result.stderr


def test_the_name_that_model_list_shows_is_known(
    tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    listed = CliRunner().invoke(model_group, ["list"]).stdout
    name = listed.partition(":")[0]
    config = tmp_path / "config.toml"
    config.write_text('[models.n]\nkind = "replay"\npath = "/dev/null"\n')
    result = run(tmp_path, few, config, "--model", name)
    assert result.exit_code == 2
    assert "cellblock model install" in result.stderr


def test_a_model_is_asked_for_the_chosen_tasks_alone(tmp_path: Path, few: Path) -> None:
    config = recorded(tmp_path, few, range(1))
    result = run(tmp_path, few, config, "--tasks", "*", "--limit", "2")
    assert json.loads(result.stdout)["samples"] == 2
    assert len(rows(tmp_path / "s.jsonl")) == 2
