"""Runs as a user starts them: the command, killed and resumed, and when the machine fails."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner.commands.eval import eval_command
from runner.evals import Settings, evaluate
from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.run import prepare
from runner.evals.samples.files import read
from runner.evals.samples.records import Sample, Task, Verdict
from sandbox import SessionLost
from tests.corpora import OWN, SAMPLES_HAVE_S, rows

ROOT = Path(__file__).parents[2]
TASK = {"task_id": "inc", "test": "assert inc(1) == 2"}
GOOD, BAD = "def inc(x): return x + 1", "def inc(x): return x"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return path


def write(path: Path, *codes: str) -> Path:
    records = [{"task_id": "inc", "completion": code} for code in codes]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_command_grades_and_prints_figures_as_json(tmp_path: Path, data: Path) -> None:
    samples = write(tmp_path / "samples.jsonl", GOOD, BAD, GOOD)
    out = tmp_path / "out.jsonl"
    result = CliRunner().invoke(
        eval_command,
        ["custom", str(samples), "--data", str(data), "--out", str(out), "--k", "1,2,10", "--json"],
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["pass_at"] == {"pass@1": pytest.approx(2 / 3), "pass@2": 1.0}
    assert figures["outcomes"] == {"passed": 2, "failed": 1}
    assert [row["passed"] for row in rows(out)] == [True, False, True]
    assert [row["completion"] for row in rows(out)] == [GOOD, BAD, GOOD]
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert manifest["speed"] > 0
    assert manifest["policy"]["tier"] == "namespaces"


def test_the_command_prints_a_table_and_progress_for_a_log(tmp_path: Path, data: Path) -> None:
    samples = write(tmp_path / "samples.jsonl", GOOD)
    result = CliRunner().invoke(eval_command, ["custom", str(samples), "--data", str(data)])
    assert result.exit_code == 0
    assert "pass@1" in result.stdout
    assert "1/1 (100%)" in result.stderr
    assert "pass@1 1.0000" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["custom", "nowhere.jsonl"], "cannot be read"),
        (["nonsense", "SAMPLES"], "there is no suite"),
        (["custom", "SAMPLES"], "nothing is downloaded"),
        (["custom", "SAMPLES", "--data", "DATA", "--k", "0"], "at least 1"),
        (["custom", "SAMPLES", "--data", "DATA", "--resume"], "--out"),
        (["custom", "SAMPLES", "--data", "DATA", "--engine", "cloud"], "local, ray"),
    ],
)
def test_bad_input_is_told_and_exits_with_2(
    tmp_path: Path, data: Path, arguments: list[str], said: str
) -> None:
    samples = write(tmp_path / "samples.jsonl", GOOD)
    places = {"SAMPLES": str(samples), "DATA": str(data)}
    result = CliRunner().invoke(eval_command, [places.get(one, one) for one in arguments])
    assert result.exit_code == 2
    assert said in result.stderr


def test_results_are_written_over_only_when_asked_to(tmp_path: Path, data: Path) -> None:
    samples, out = write(tmp_path / "samples.jsonl", GOOD), tmp_path / "out.jsonl"

    def run(*more: str) -> Any:
        given = [str(samples), "--data", str(data), "--out", str(out), "--jobs", "1", *more]
        return CliRunner().invoke(eval_command, ["custom", *given])

    first = run()
    assert first.exit_code == 0
    assert f"Results: {out}" in first.stdout.replace("\n", "")
    write(samples, BAD)
    before = out.read_text()
    refused = run()
    assert (refused.exit_code, out.read_text()) == (2, before)
    assert "--overwrite" in refused.stderr
    written = run("--overwrite")
    assert (written.exit_code, rows(out)[0]["passed"]) == (0, False)
    (tmp_path / "out.jsonl.part").write_text("{}\n")
    out.unlink()
    assert run().exit_code == 2


def test_a_choice_of_tasks_is_graded_and_kept_for_a_resume(tmp_path: Path) -> None:
    data, samples, out = (tmp_path / name for name in ("tasks", "samples", "out"))
    names = ("a/0", "b/0", "a/1", "a/2")
    data.write_text(
        "".join(json.dumps({"task_id": one, "test": "assert inc(1) == 2"}) + "\n" for one in names)
    )
    samples.write_text(
        "".join(json.dumps({"task_id": one, "completion": GOOD}) + "\n" for one in names[::-1])
    )

    def run(*more: str) -> Any:
        given = [str(samples), "--data", str(data), "--out", str(out), "--json", *more]
        return CliRunner().invoke(eval_command, ["custom", *given])

    figures = json.loads(run("--tasks", "a/*", "--limit", "2").stdout)
    assert [row["task_id"] for row in rows(out)] == ["a/1", "a/0"]
    assert (figures["samples"], figures["tasks_without_samples"]) == (2, 0)
    assert run("--resume").exit_code == 2
    assert run("--resume", "--tasks", "a/*", "--limit", "2").exit_code == 0
    nothing = run("--tasks", "c*", "--overwrite")
    assert nothing.exit_code == 2
    assert "no task is called 'c*'" in nothing.stderr


def test_the_report_shows_what_failed_where_and_by_which_limit(tmp_path: Path, data: Path) -> None:
    deep = "def half(x):\n    return x / 0\ndef inc(x):\n    return half(x)"
    samples = write(tmp_path / "samples.jsonl", BAD, deep, GOOD)
    given = [str(samples), "--data", str(data), "--speed", "1.5", "--timeout", "2"]
    result = CliRunner().invoke(eval_command, ["custom", *given])
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "Limit of a sample: 3 s of CPU (2 at a speed of 1.50)." in lines
    first = lines.index("sample 0 (inc): wrong_answer")
    assert lines[first + 2 : first + 5] == [
        'File "<test>", line 1, in <module>',
        "assert inc(1) == 2",
        "AssertionError",
    ]
    second = lines.index("sample 1 (inc): exception")
    assert lines[second + 1 : second + 8] == [
        "failed: division by zero",
        'File "<test>", line 1, in <module>',
        "assert inc(1) == 2",
        'File "<candidate>", line 4, in inc',
        "return half(x)",
        'File "<candidate>", line 2, in half',
        "return x / 0",
    ]


def test_the_example_of_the_reference_harness_scores_as_it_documents(tmp_path: Path) -> None:
    """A sample that sleeps is late by the wall clock, and one that reads its input fails."""
    data, samples = tmp_path / "tasks", tmp_path / "samples"
    task = {
        "task_id": "one",
        "prompt": "def one():\n",
        "entry_point": "one",
        "test": "def check(candidate):\n    assert candidate() == 1",
    }
    data.write_text(json.dumps(task) + "\n")
    bodies = (
        "    import subprocess\n    subprocess.check_output('rm -rf nothing')",
        "    import time\n    time.sleep(4)\n    return 1",
        "    return input('a number')",
        "    return 1",
        "  return 1",
        "\treturn 1",
    )
    samples.write_text(
        "".join(json.dumps({"task_id": "one", "completion": body}) + "\n" for body in bodies)
    )
    found = {
        rule: evaluate("humaneval", samples, data=data, limits=rule, timeout_s=2)
        for rule in ("reference", "cpu")
    }
    assert found["reference"].score.pass_at[1] == pytest.approx(0.5)
    assert "wall time" in found["reference"].manifest.limit()
    assert found["cpu"].verdicts[1].passed  # CPU time is all that counts by default.


def test_candidates_that_loop_cost_little_more_than_their_limit(tmp_path: Path, data: Path) -> None:
    loop = "def inc(x):\n    while True: pass"
    samples = write(tmp_path / "samples.jsonl", *[loop] * 2, *[GOOD] * 20)
    order: list[int] = []
    report = evaluate(
        "custom",
        samples,
        data=data,
        jobs=2,
        timeout_s=2,
        progress=lambda _done, _total, sample, _verdict: order.append(sample.index),
    )
    assert set(order[-2:]) == {0, 1}  # Nothing else had to wait for them.
    limit_s = 2 * report.manifest.speed
    for verdict in report.verdicts[:2]:
        assert (verdict.outcome, verdict.attempts) == ("timed_out", 1)
        assert verdict.usage.cpu_s < 1.25 * limit_s  # And a first look of 0.05 before it.


def test_odd_completions_get_verdicts_too(tmp_path: Path, data: Path) -> None:
    codes = (
        GOOD + "\n#" + "x" * 5_000_000,
        "\x00\x01\x02",
        "\ud800 = 1",
        "def inc(x): return '\\ud800'",
        "(" * 100_000,
        "",
        "def inc(x): return [x] * 10_000_000",
        "print('x' * 100_000_000)\n" + GOOD,
    )
    report = evaluate("custom", write(tmp_path / "s.jsonl", *codes), data=data, recheck=False)
    outcomes = [verdict.outcome for verdict in report.verdicts]
    assert outcomes[0] == "passed"
    assert outcomes[7] == "passed"
    assert set(outcomes[1:7]) <= {"failed", "crashed", "out_of_memory", "timed_out"}
    assert report.score.excluded == 0


def test_a_run_that_was_killed_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    samples, out = OWN["samples"], tmp_path / "out.jsonl"
    program = (
        "import sys; from runner.evals import evaluate; evaluate('humaneval', sys.argv[1],"
        " data=sys.argv[2], out=sys.argv[3], timeout_s=5, jobs=2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(samples), str(OWN["humaneval"]), str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    part = tmp_path / "out.jsonl.part"
    deadline = time.monotonic() + 60
    while not part.exists() or part.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = part.read_bytes().count(b"\n")
    counted: list[int] = []
    report = evaluate(
        "humaneval",
        samples,
        data=OWN["humaneval"],
        out=out,
        timeout_s=SAMPLES_HAVE_S,
        jobs=2,
        resume=True,
        progress=lambda done, _total, _sample, _verdict: counted.append(done),
    )
    expected = [row["passed"] for row in OWN.rows("expected")]
    assert len(counted) == len(expected) - before
    assert not part.exists()
    assert [row["passed"] for row in rows(out)] == expected
    assert [verdict.passed for verdict in report.verdicts] == expected


class Failing(Grader):
    """A grader whose engine fails a number of times."""

    failures = 0

    async def grade(self, task: Task, sample: Sample) -> Verdict:
        if self.failures:
            self.failures -= 1
            raise SessionLost("somebody pulled the plug")
        return await super().grade(task, sample)


@pytest.mark.parametrize(("failures", "outcome"), [(2, "passed"), (3, "infrastructure")])
def test_a_failure_of_the_engine_is_tried_again_and_never_scored(
    tmp_path: Path, data: Path, failures: int, outcome: str
) -> None:
    job = prepare("custom", read(write(tmp_path / "s.jsonl", GOOD)), data)

    async def go() -> Verdict:
        async with Failing(job.suite, Settings(jobs=1)) as grader:
            grader.failures = failures
            return await decide(grader, job.tasks["inc"], job.samples[0], recheck=True)

    verdict = asyncio.run(go())
    assert (verdict.outcome, verdict.attempts) == (outcome, 3)
    assert verdict.passed == (outcome == "passed")


def test_a_test_whose_library_is_not_here_is_infrastructure_and_exits_with_3(
    tmp_path: Path,
) -> None:
    data = tmp_path / "tasks.jsonl"
    task = {"task_id": "inc", "test": "import no_such_library\nassert inc(1) == 2"}
    data.write_text(json.dumps(task) + "\n")
    samples = write(tmp_path / "s.jsonl", GOOD)
    result = CliRunner().invoke(eval_command, ["custom", str(samples), "--data", str(data)])
    assert result.exit_code == 3
    assert "NO VERDICT FOR 1 OF 1 SAMPLES" in result.stdout


def test_what_ends_near_its_limit_is_run_again_and_named(tmp_path: Path, data: Path) -> None:
    slow = (
        "import time\ndef inc(x):\n    began = time.process_time()\n"
        "    while time.process_time() - began < {}: pass\n    return x + 1\n"
    )
    job = prepare("custom", read(write(tmp_path / "s.jsonl", slow.format(0.46), GOOD)), data)

    async def go() -> list[Verdict]:
        settings = Settings(jobs=1, timeout_s=0.5, speed=1.0)
        async with Grader(job.suite, settings) as grader:
            return [
                await decide(grader, job.tasks["inc"], sample, recheck=True)
                for sample in job.samples
            ]

    near, far = asyncio.run(go())
    assert near.attempts >= 2
    assert near.flaky
    assert (far.outcome, far.attempts, far.flaky) == ("passed", 1, "")


def test_programs_have_the_same_chance_and_the_same_order_of_sets(tmp_path: Path) -> None:
    data = tmp_path / "tasks.jsonl"
    code = "import random, sys\nprint(random.random(), hash('a'), *{'x', 'y'}, file=sys.stderr)"
    case = {"input": "", "output": "nothing"}
    data.write_text(json.dumps({"task_id": "p", "kind": "stdio", "cases": [case]}) + "\n")
    samples: list[dict[str, Any]] = [{"task_id": "p", "solution": code}] * 2
    reports = [evaluate("custom", samples, data=data) for _ in range(2)]
    said = {verdict.stderr for report in reports for verdict in report.verdicts}
    assert len(said) == 1
    assert len(next(iter(said)).split()) == 4
    manifest = reports[0].manifest
    assert manifest.chance == {"random": 20_240_607, "numpy": 20_240_607, "hashes": 0}
    assert manifest.policy["hash_seed"] == 0


def test_two_runs_give_the_same_verdicts_and_the_same_chance(tmp_path: Path) -> None:
    data = tmp_path / "tasks.jsonl"
    data.write_text(json.dumps({"task_id": "r", "test": "assert draw() == first()"}) + "\n")
    code = "import random\nFIRST = random.random()\ndef draw(): return FIRST\n"
    probe = code + "def first(): raise ValueError(repr(FIRST))\n"
    samples: list[dict[str, Any]] = [{"task_id": "r", "solution": probe}] * 3
    results = {verdict.result for verdict in evaluate("custom", samples, data=data).verdicts}
    assert len(results) == 1
    assert next(iter(results)).startswith("failed: 0.")
