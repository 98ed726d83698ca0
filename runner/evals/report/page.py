"""The report as one self-contained HTML page: a table of tasks and samples that sorts and filters,
each failing test with the candidate's code and output, and the comparison with another run.

Everything that a sample had a hand in is data in the page, put in as text and never as markup.
The template is built by `make page` and shares the look of the server's page.
"""

import importlib.resources
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.evals.errors import OutputFailed
from runner.evals.report.table import summary
from runner.evals.run import Report
from runner.evals.samples.files import read
from runner.evals.samples.records import Json, Task

TEMPLATE = "page.html"
DATA = "/*DATA*/null"
TEXT_CAP = 20_000
CODE_FIELDS = ("completion", "solution", "prediction", "response", "code")
TEST_FIELDS = ("test_setup_code", "test_imports", "test", "test_list", "input", "output", "answer")
QUESTION_FIELDS = ("prompt", "complete_prompt", "text", "question")


def write_page(report: Report, path: str | Path, *, against: str | Path | None = None) -> None:
    """Write the page to `path`, compared with the results in `against`. Raises BadInput,
    OutputFailed.
    """
    before: list[Mapping[str, Json]] = []
    if against is not None:
        before = [row.fields for row in read(against).rows]
    try:
        Path(path).write_text(page(report, before), "utf-8")
    except OSError as error:
        raise OutputFailed(str(path), error.strerror or str(error), 0) from error


def page(report: Report, before: Sequence[Mapping[str, Json]]) -> str:
    """The text of the page; `before` are the lines of the results that it is compared with."""
    earlier = _by_task(before)
    rows = []
    for index, (sample, verdict) in enumerate(zip(report.samples, report.verdicts, strict=True)):
        # The n-th sample of a task is compared with the n-th of the other run.
        others = earlier.get(sample.task_id, [])
        rows.append(
            {
                "index": index,
                "task": sample.task_id,
                "outcome": verdict.outcome,
                "result": verdict.result[:TEXT_CAP],
                "stderr": verdict.stderr[:TEXT_CAP],
                "code": _code(sample.row.fields),
                "before": _side(others.pop(0)) if others else None,
                "cpu_s": verdict.usage.cpu_s,
                "wall_s": verdict.usage.wall_s,
                "memory": verdict.usage.peak_memory_bytes,
                "flaky": verdict.flaky,
                "details": verdict.details,
            }
        )
    sampled = dict.fromkeys(sample.task_id for sample in report.samples)
    data = {
        "summary": summary(report),
        "compared": bool(before),
        "before": {"pass_at_1": _pass_at_1(before), "gone": sum(map(len, earlier.values()))},
        "tasks": {name: _task(report.tasks[name]) for name in sampled if name in report.tasks},
        "rows": rows,
    }
    # Inside a script element only "</" could end it, and "<!--" change how it is read.
    text = json.dumps(data).replace("<", "\\u003c")
    folder = importlib.resources.files("runner.evals.report")
    return folder.joinpath(TEMPLATE).read_text("utf-8").replace(DATA, text)


def _by_task(lines: Sequence[Mapping[str, Json]]) -> dict[str, list[Mapping[str, Json]]]:
    found: dict[str, list[Mapping[str, Json]]] = {}
    for line in lines:
        found.setdefault(str(line.get("task_id")), []).append(line)
    return found


def _pass_at_1(lines: Sequence[Mapping[str, Json]]) -> float | None:
    """The mean over tasks of how many samples passed; None where there is nothing to count."""
    shares = []
    for samples in _by_task(lines).values():
        outcomes = [one.get("outcome") for one in samples]
        counted = [outcome == "passed" for outcome in outcomes if outcome != "infrastructure"]
        if counted:
            shares.append(sum(counted) / len(counted))
    return sum(shares) / len(shares) if shares else None


def _side(line: Mapping[str, Json]) -> dict[str, str]:
    """A sample of the other run."""
    texts = {name: str(line.get(name) or "")[:TEXT_CAP] for name in ("outcome", "result", "stderr")}
    return {**texts, "code": _code(line)}


def _code(fields: Mapping[str, Json]) -> str:
    return str(next((fields[name] for name in CODE_FIELDS if name in fields), ""))[:TEXT_CAP]


def _task(task: Task) -> dict[str, str]:
    """What a task asked, and the test that its samples had to pass."""
    fields = task.row.fields
    tests = [_text(fields[name]) for name in TEST_FIELDS if name in fields]
    question = next((_text(fields[name]) for name in QUESTION_FIELDS if name in fields), "")
    return {"question": question[:TEXT_CAP], "test": "\n".join(filter(None, tests))[:TEXT_CAP]}


def _text(value: Json) -> str:
    if isinstance(value, list):
        return "\n".join(_text(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)
