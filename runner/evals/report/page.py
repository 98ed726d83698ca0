"""The report as one self-contained HTML page: filter, details of each sample, diff of two runs.

Everything that a sample had a hand in is data in the page, put in as text and never as markup.
"""

import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path

from runner.evals.errors import OutputFailed
from runner.evals.report.table import summary
from runner.evals.run import Report
from runner.evals.samples.files import read
from runner.evals.samples.records import Json

TEMPLATE = "page.html"
DATA = "/*DATA*/null"
CODE_CAP = 20_000
CODE_FIELDS = ("completion", "solution", "prediction", "response", "code")


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


def page(report: Report, before: list[Mapping[str, Json]]) -> str:
    """The text of the page."""
    rows = []
    for index, (sample, verdict) in enumerate(zip(report.samples, report.verdicts, strict=True)):
        fields = sample.row.fields
        code = next((fields[name] for name in CODE_FIELDS if name in fields), "")
        old = before[index] if index < len(before) else {}
        is_same_sample = old.get("task_id", sample.task_id) == sample.task_id
        rows.append(
            {
                "index": index,
                "task": sample.task_id,
                "outcome": verdict.outcome,
                "before": old.get("outcome") if is_same_sample else None,
                "result": verdict.result,
                "stderr": verdict.stderr,
                "code": str(code)[:CODE_CAP],
                "cpu_s": verdict.usage.cpu_s,
                "wall_s": verdict.usage.wall_s,
                "memory": verdict.usage.peak_memory_bytes,
                "flaky": verdict.flaky,
                "details": verdict.details,
            }
        )
    data = {"summary": summary(report), "compared": bool(before), "rows": rows}
    # Inside a script element only "</" could end it, and "<!--" change how it is read.
    text = json.dumps(data).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    here = importlib.resources.files("runner.evals.report")
    template = here.joinpath(TEMPLATE).read_text("utf-8")
    return template.replace(DATA, text)
