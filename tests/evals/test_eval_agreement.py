"""Verdicts equal the reference harnesses', each and every one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from runner.evals import SUITES, Report, Settings, evaluate
from runner.evals.grading.grader import Grader
from runner.evals.run import prepare
from runner.evals.samples import files
from runner.evals.samples.records import Spent, Verdict
from tests.corpora import BOTH, OWN, PUBLISHED, SAMPLES_HAVE_S, Corpora

EVERY = {"own": 1, "published": 8}
"""One task of so many; the full published sets run in benchmarks."""
PASS_AT = {"own": {1: 0.4, 2: 0.7}, "published": {1: 0.4125, 10: 0.7961}}
KNOWN = {"ClassEval_35": "its own solution walks at random and may never end"}


def canonical(suite: str, data: Path, field: str = "solution") -> list[dict[str, Any]]:
    """Samples that answer each task by the solution that comes with it."""
    kind = SUITES[suite]()
    tasks = kind.load(files.read(data).rows)
    return [{"task_id": task.task_id, field: kind.canonical(task)} for task in tasks.values()]


class AskingAlive(Grader):
    """A grader that asks every candidate one question at a time."""

    async def _ask_beforehand(self, *_arguments: object) -> None:
        return None


def not_passed(report: Report) -> dict[str, str]:
    pairs = zip(report.samples, report.verdicts, strict=True)
    return {sample.task_id: verdict.result for sample, verdict in pairs if not verdict.passed}


@pytest.mark.parametrize("corpora", BOTH)
def test_completions_get_their_known_verdicts(corpora: Corpora) -> None:
    expected = corpora.rows("expected")
    report = evaluate(
        "humaneval",
        corpora["samples"],
        data=corpora["humaneval"],
        timeout_s=SAMPLES_HAVE_S,
        k=tuple(PASS_AT[corpora.name]),
    )
    got = [
        {
            "task_id": sample.task_id,
            "passed": verdict.passed,
            "result": verdict.result.partition(":")[0],
            "exc": verdict.error or None,
        }
        for sample, verdict in zip(report.samples, report.verdicts, strict=True)
    ]
    assert got == [{key: row[key] for key in got[0]} for row in expected]
    assert report.score.pass_at == pytest.approx(PASS_AT[corpora.name], abs=5e-5)


@pytest.mark.parametrize("corpora", BOTH)
def test_candidates_asked_beforehand_or_alive_get_the_same_verdicts(corpora: Corpora) -> None:
    job = prepare("humaneval", files.read(corpora["samples"]), corpora["humaneval"])
    samples = job.samples[:: EVERY[corpora.name] + 2]

    async def grade(kind: type[Grader]) -> list[Verdict]:
        async with kind(job.suite, Settings(timeout_s=5.0, jobs=2)) as grader:
            return [await grader.grade(job.tasks[one.task_id], one) for one in samples]

    beforehand, alive = (
        [verdict.model_copy(update={"usage": Spent()}) for verdict in asyncio.run(grade(kind))]
        for kind in (Grader, AskingAlive)
    )
    assert beforehand == alive
    assert {verdict.outcome for verdict in alive} >= {"passed", "failed"}


@pytest.mark.parametrize("corpora", BOTH)
@pytest.mark.parametrize("suite", ["humaneval", "humaneval-plus", "mbpp", "bigcodebench"])
def test_canonical_solutions_pass(suite: str, corpora: Corpora) -> None:
    data = corpora[suite]
    every = EVERY[corpora.name]
    samples = canonical(suite, data)[1 % every :: every]
    assert not_passed(evaluate(suite, samples, data=data, timeout_s=20)) == {}


@pytest.mark.parametrize("suite", ["mbpp-plus", "ds1000"])
def test_canonical_solutions_of_our_own_sets_pass(suite: str) -> None:
    samples = canonical(suite, OWN[suite])
    assert not_passed(evaluate(suite, samples, data=OWN[suite], timeout_s=20)) == {}


@pytest.mark.parametrize("corpora", BOTH)
def test_classes_of_the_corpus_pass(corpora: Corpora) -> None:
    data = corpora["classeval"]
    samples = [one for one in canonical("classeval", data) if one["task_id"] not in KNOWN]
    report = evaluate("classeval", samples, data=data, timeout_s=10)
    assert not_passed(report) == {}
    assert report.verdicts[0].details["unseen"] == 0
    assert int(str(report.verdicts[0].details["rechecked"])) > 0


@pytest.mark.parametrize("corpora", BOTH)
def test_predictions_of_outputs_and_inputs_hold(corpora: Corpora) -> None:
    samples = []
    for row in corpora.rows("cruxeval")[:: EVERY[corpora.name]]:
        samples.append({"task_id": row["id"], "prediction": row["output"]})
        samples.append({"task_id": row["id"], "prediction": row["input"], "mode": "input"})
        samples.append({"task_id": row["id"], "prediction": f"f({row['input']})", "mode": "input"})
    assert not_passed(evaluate("cruxeval", samples, data=corpora["cruxeval"])) == {}


def test_a_prediction_that_repeats_the_question_fails() -> None:
    row = OWN.rows("cruxeval")[0]
    samples = [
        {"task_id": row["id"], "prediction": f"f({row['input']})"},
        {"task_id": row["id"], "prediction": "type('Yes', (), {'__eq__': lambda *_: True})()"},
        {"task_id": row["id"], "prediction": "[(", "mode": "input"},
        {"task_id": row["id"], "prediction": "1 + 1 or f", "mode": "input"},
    ]
    report = evaluate("cruxeval", samples, data=OWN["cruxeval"])
    assert [verdict.outcome for verdict in report.verdicts] == ["failed"] * 4


@pytest.mark.parametrize("corpora", BOTH)
def test_known_bugs_fail_and_their_mended_twins_pass(tmp_path: Path, corpora: Corpora) -> None:
    found = corpora.rows("pack")[:: 4 if corpora is PUBLISHED else 1]
    data = tmp_path / "pack.jsonl"
    keys = ("task_id", "test", "entry_point")
    data.write_text(
        "".join(
            json.dumps(
                {key: row[key] for key in keys} | {"helpers": row["prompt"] + "\n    pass\n"}
            )
            + "\n"
            for row in found
        )
    )
    samples = [
        {"task_id": row["task_id"], "solution": row["prompt"] + row[field]}
        for field in ("canonical_solution", "buggy_solution")
        for row in found
    ]
    report = evaluate("custom", samples, data=data, timeout_s=2)
    passed = [verdict.passed for verdict in report.verdicts]
    assert passed == [True] * len(found) + [False] * len(found)
    assert report.score.excluded == 0


def test_a_library_that_a_task_itself_imports_and_is_not_here_is_nobodys_fault(
    tmp_path: Path,
) -> None:
    task = {**OWN.rows("classeval")[0], "import_statement": ["import no_such_library"]}
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps(task) + "\n")
    sample = {"task_id": task["task_id"], "solution": task["solution_code"]}
    [verdict] = evaluate("classeval", [sample], data=data).verdicts
    assert verdict.outcome == "infrastructure"
    assert "no_such_library" in verdict.result
