"""Suites and samples are read whole or refused, with the file, the line and the field."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from runner.evals.errors import BadInput
from runner.evals.run import prepare
from runner.evals.samples.files import index_samples, index_tasks, read
from runner.evals.samples.records import Row
from runner.evals.suites import SUITES

TASK = {"task_id": "T/1", "prompt": "def f():\n", "test": "def check(f): pass", "entry_point": "f"}


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b'{"a": 1}\n{"a": \n', 2, "is no JSON"),
        (b'{"a": 1}\n\n[1]\n', 3, "is no JSON object"),
        (b'{"a": "\xff\xfe"}\n', 1, "is no UTF-8"),
        (b"[" * 100_000, 0, "is no JSON"),
        (b'[{"a": 1}, 2]', 0, "item 2 is no JSON object"),
        (b"\x1f\x8bnot gzip", 0, "is no whole gzip file"),
        (gzip.compress(b'{"a": 1}\n' * 500, mtime=0)[:-30], 0, "is no whole gzip file"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path: Path, data: bytes, line: int, said: str
) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=said) as caught:
        read(path)
    assert caught.value.file == str(path)
    assert caught.value.line == line


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_lines_lists_and_archives_read_alike(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "data"
    assert callable(pack)
    for data in (lines({"a": 1}, {"a": 2}), json.dumps([{"a": 1}, {"a": 2}]).encode()):
        path.write_bytes(pack(data))
        assert [row.fields["a"] for row in read(path).rows] == [1, 2]


def test_a_task_that_comes_twice_is_refused() -> None:
    rows = [Row("suite", 1, {"task_id": 7}), Row("suite", 4, {"task_id": "7"})]
    with pytest.raises(BadInput, match="suite:4: task_id: '7' is the id of line 1 already"):
        index_tasks(rows, "task_id")


@pytest.mark.parametrize(
    ("sample", "field"),
    [
        ({"task_id": "T/2", "completion": ""}, "task_id"),
        ({"completion": ""}, "task_id"),
        ({"task_id": ["T/1"], "completion": ""}, "task_id"),
        ({"task_id": "T/1"}, "completion"),
        ({"task_id": "T/1", "completion": 3}, "completion"),
        ({"task_id": "T/1", "solution": {"a": 1}}, "solution"),
    ],
)
def test_a_bad_sample_is_refused_before_anything_runs(
    tmp_path: Path, sample: dict[str, object], field: str
) -> None:
    suite, samples = tmp_path / "suite.jsonl", tmp_path / "samples.jsonl"
    suite.write_bytes(lines(TASK))
    samples.write_bytes(lines({"task_id": "T/1", "completion": "  pass"}, sample))
    with pytest.raises(BadInput) as caught:
        prepare("humaneval", read(samples), suite)
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(samples), 2, field)


def test_a_sample_id_comes_once() -> None:
    tasks = index_tasks([Row("suite", 1, TASK)], "task_id")
    twice = [Row("s", line, {"task_id": "T/1", "sample_id": 5}) for line in (1, 2)]
    with pytest.raises(BadInput, match="s:2: sample_id: is the id of line 1 already"):
        index_samples(twice, tasks, "task_id")


def test_many_samples_of_one_task_are_as_it_should_be() -> None:
    tasks = index_tasks([Row("suite", 1, TASK)], "task_id")
    samples = index_samples([Row("s", line, {"task_id": "T/1"}) for line in (1, 2, 5)], tasks, "id")
    assert [sample.index for sample in samples] == [0, 1, 2]


BROKEN_TASKS = {
    "humaneval": ({"task_id": "T", "prompt": "x", "test": 1, "entry_point": "f"}, "test"),
    "humaneval-plus": (
        {
            "task_id": "T",
            "prompt": "",
            "entry_point": "f",
            "canonical_solution": "",
            "base_input": [1],
            "plus_input": [],
        },
        "base_input",
    ),
    "mbpp": ({"task_id": 1, "test_list": "assert f()"}, "test_list"),
    "cruxeval": ({"id": "s", "code": "", "input": ""}, "output"),
    "classeval": ({"task_id": "C", "test": "", "test_classes": [1]}, "test_classes"),
    "bigcodebench": ({"task_id": "B", "test": ""}, "entry_point"),
    "ds1000": ({"task_id": 0, "code_context": "x = 1"}, "code_context"),
    "dabench": ({"id": 0}, "common_answers"),
    "stdio": ({"task_id": "P", "test": "{"}, "test"),
    "custom": ({"task_id": "X", "kind": "magic"}, "kind"),
}


@pytest.mark.parametrize("suite", BROKEN_TASKS)
def test_a_task_without_what_its_suite_needs_is_refused(suite: str) -> None:
    fields, field = BROKEN_TASKS[suite]
    with pytest.raises(BadInput) as caught:
        SUITES[suite]().load([Row("suite.jsonl", 3, fields)])
    assert (caught.value.file, caught.value.line, caught.value.field) == ("suite.jsonl", 3, field)


def test_a_test_that_is_no_python_is_refused() -> None:
    row = Row("mine.jsonl", 1, {"task_id": 1, "test": "assert f( =="})
    with pytest.raises(BadInput, match=r"mine\.jsonl:1: test: is no Python"):
        SUITES["custom"]().load([row])


def test_an_unknown_suite_and_missing_data_are_refused(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_bytes(lines({"task_id": 1}))
    with pytest.raises(BadInput, match="there is no suite 'nonsense'"):
        prepare("nonsense", read(samples), None)
    with pytest.raises(BadInput, match="nothing is downloaded"):
        prepare("custom", read(samples), None)


def test_a_suite_of_another_hash_is_refused_by_file_and_field(tmp_path: Path) -> None:
    suite, samples = tmp_path / "suite.jsonl", tmp_path / "samples.jsonl"
    suite.write_bytes(lines(TASK))
    samples.write_bytes(lines({"task_id": "T/1", "completion": "  pass"}))
    right = hashlib.sha256(suite.read_bytes()).hexdigest()
    assert prepare("humaneval", read(samples), suite, sha256=right.upper()).data.sha256 == right
    with pytest.raises(BadInput, match=f"suite.jsonl: sha256: is {right} and must be 00") as caught:
        prepare("humaneval", read(samples), suite, sha256="00")
    assert (caught.value.file, caught.value.field) == (str(suite), "sha256")


def test_a_byte_order_mark_is_no_part_of_anything(tmp_path: Path) -> None:
    mark = "\ufeff".encode()
    data, samples = tmp_path / "tasks.jsonl", tmp_path / "samples.jsonl"
    data.write_bytes(mark + lines({"task_id": "inc", "test": "assert inc(1) == 2"}))
    program = {"task_id": "inc", "solution": "\ufeffdef inc(x): return x + 1"}
    samples.write_bytes(mark + lines(program) + mark + lines(program))
    job = prepare("custom", read(samples), data)
    assert len(job.samples) == 2
    trial = job.suite.trial(job.tasks["inc"], job.samples[0])
    assert trial.source.strip() == "def inc(x): return x + 1"  # type: ignore[union-attr]
