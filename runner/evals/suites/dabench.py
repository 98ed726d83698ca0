"""DABench: questions about tables; the answer holds @name[value] for every name asked for."""

import json
import re
from pathlib import Path

from runner.evals.samples.answers import script_in
from runner.evals.samples.files import read
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites.base import (
    IN_ONE_BLOCK,
    Answer,
    Case,
    Program,
    Suite,
    Trial,
    answer_of,
)
from runner.evals.suites.stdio import number_in

ANSWER = re.compile(r"@([\w.-]+)\[")
TOLERANCE = 1e-6


class DaBench(Suite):
    """Samples have `solution` or `completion`, a program that prints the answer and finds its
    table in the working directory; or `response`, the answer itself.

    Tasks have `common_answers`, in the row or in the labels file beside the questions; tables
    are in the folder `da-dev-tables` beside them. The labels never enter the jail.
    """

    name = "dabench"
    brought_by = (
        "Give da-dev-questions.jsonl, with its labels and tables beside it (repository "
        "InfiAgent/InfiAgent, examples/DA-Agent/data/), with --data"
    )
    id_field = "id"
    timeout_s = 30.0
    preload = ("pandas",)

    def load(self, rows: list[Row]) -> dict[str, Task]:
        labels = self._labels(rows[0].file) if rows else {}
        merged = [
            row
            if row.has("common_answers")
            else Row(
                row.file, row.line, {**row.fields, "common_answers": labels.get(row.name("id"))}
            )
            for row in rows
        ]
        return super().load(merged)

    def check_task(self, task: Task) -> None:
        for pair in task.row.items("common_answers"):
            if not (isinstance(pair, list) and len(pair) == 2):
                raise task.row.bad("common_answers", "must be pairs of a name and a value")

    def trial(self, task: Task, sample: Sample) -> Trial:
        expected = json.dumps(task.row.items("common_answers"))
        if sample.row.has("response"):
            return Answer(sample.row.text("response"), expected, holds_answers)
        files = {}
        if task.row.has("file_name"):
            name = task.row.text("file_name")
            table = Path(task.row.file).parent / "da-dev-tables" / Path(name).name
            try:
                files[Path(name).name] = table.read_bytes()
            except OSError as error:
                raise task.row.bad(
                    "file_name", f"{name!r} cannot be read: {error.strerror}"
                ) from error
        program = answer_of(sample, "solution", "completion")
        return Program(program, (Case("", expected),), holds_answers, files)

    def question(self, task: Task) -> str:
        row = task.row
        parts = [row.text(field) for field in ("question", "constraints") if row.has(field)]
        if row.has("file_name"):
            parts.append(f"The table is {row.text('file_name')} in the working directory.")
        if row.has("format"):
            parts.append(f"Print the answer like this:\n{row.text('format')}")
        return "\n\n".join([*parts, IN_ONE_BLOCK])

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"solution": script_in(text)}

    @staticmethod
    def _labels(file: str) -> dict[str, Json]:
        path = Path(file).with_name("da-dev-labels.jsonl")
        if not path.is_file():
            return {}
        return {row.name("id"): row.fields.get("common_answers") for row in read(path).rows}


def holds_answers(text: str, expected: str) -> bool:
    """Whether `text` gives every name of the pairs in `expected` its value."""
    given = _given(text)
    pairs = json.loads(expected)
    return all(str(name) in given and _same(given[str(name)], str(value)) for name, value in pairs)


def _given(text: str) -> dict[str, str]:
    """What `text` says as @name[value], the last where a name comes again; in one pass."""
    found: dict[str, str] = {}
    at = 0
    while (begun := ANSWER.search(text, at)) is not None:
        end = text.find("]", begun.end())
        if end < 0:
            break  # No other one ends either.
        found[begun[1]] = text[begun.end() : end]
        at = end + 1
    return found


def _same(given: str, wanted: str) -> bool:
    if given == wanted:
        return True
    got, right = number_in(given.strip()), number_in(wanted.strip())
    return got is not None and right is not None and abs(got - right) < TOLERANCE
