"""What was written stays: over a torn line, a full disk, a resumed run."""

import json
import os
import resource
from pathlib import Path

import pytest

from runner.evals.errors import BadInput, OutputFailed
from runner.evals.samples import manifest
from runner.evals.samples.files import Source
from runner.evals.samples.journal import Journal
from runner.evals.samples.records import Row, Sample, Verdict
from runner.evals.settings import Settings

PASSED = Verdict(outcome="passed", result="passed")
FAILED = Verdict(outcome="failed", result="failed: no")
LOST = Verdict(outcome="infrastructure", result="infrastructure: gone")


def samples(count: int) -> list[Sample]:
    fields = [{"task_id": "T", "completion": "x", "note": number} for number in range(count)]
    return [Sample(n, "T", Row("s", n + 1, dict(one))) for n, one in enumerate(fields)]


def test_results_come_in_the_samples_order_with_their_fields(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out) as journal:
        journal.start(resume=False, samples=2)
        journal.add(1, FAILED)
        journal.add(0, PASSED)
        journal.finish(samples(2))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["note"], row["passed"], row["outcome"]) for row in rows] == [
        (0, True, "passed"),
        (1, False, "failed"),
    ]
    assert list(rows[0])[:7] == [
        "task_id",
        "completion",
        "note",
        "passed",
        "result",
        "outcome",
        "usage",
    ]
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_a_torn_last_line_costs_itself_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out) as journal:
        journal.start(resume=False, samples=3)
        journal.add(2, PASSED)
        journal.add(0, FAILED)
    with journal.part.open("ab") as stream:
        stream.write(b'{"index": 1, "outc')
    with Journal(out) as again:
        again.start(resume=True, samples=3)
        assert again.verdicts == {2: PASSED, 0: FAILED}
        again.add(1, PASSED)
    assert [json.loads(line)["index"] for line in again.part.read_text().splitlines()] == [2, 0, 1]


def test_what_stayed_infrastructure_is_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out) as journal:
        journal.start(resume=False, samples=2)
        journal.add(0, LOST)
        journal.add(1, PASSED)
        journal.finish(samples(2))
    with Journal(out) as again:
        again.start(resume=True, samples=2)
        assert again.verdicts == {1: PASSED}


def test_a_strange_part_is_refused_with_its_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").write_text('{"index": 0}\n{"index": 1}\n')
    with pytest.raises(BadInput, match=r"out\.jsonl\.part:1: is no record of a run"):
        Journal(out).start(resume=True, samples=2)


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal(out) as journal:
        journal.start(resume=False, samples=9)
        journal.add(0, PASSED)
        size = journal.part.stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            with pytest.raises(OutputFailed, match="1 results are safe") as caught:
                journal.add(1, FAILED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.saved == 1
        assert journal.part.stat().st_size == size
        journal.add(1, FAILED)
        assert len(journal.part.read_text().splitlines()) == 2


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="No such file"):
        Journal(tmp_path / "no" / "out.jsonl").start(resume=False, samples=1)


def describe(suite_hash: str = "a", timeout_s: float = 1.0) -> manifest.Manifest:
    data, given = Source("suite", suite_hash, []), Source("samples", "b", [])
    return manifest.describe("custom", data, given, 1, Settings(timeout_s=timeout_s), {})


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert manifest.read(out) is None
    manifest.write(describe(), out)
    assert manifest.read(out) == describe()


@pytest.mark.parametrize(
    ("other", "field"),
    [(describe(suite_hash="z"), "suite_sha256"), (describe(timeout_s=2), "settings.timeout_s")],
)
def test_results_of_another_run_are_not_gone_on_with(other: manifest.Manifest, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        describe().require_same(other, "out.manifest.json")
    assert caught.value.field == field
