"""Contest problems: a program that reads stdin and writes stdout."""

import json
import math

from runner.evals.samples.answers import script_in
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Case, Program, Suite, answer_of

STATEMENTS = ("question", "description", "content", "prompt")
"""Fields that may hold a problem's words."""
RELATIVE = 1e-4
"""How far two numbers of a line may be apart, as part of the larger one or absolute below 1."""


class Stdio(Suite):
    """Tasks have `test`, a list (or its JSON text) of {input: {stdin}, output: {stdout}}, or
    `input_output` with `inputs` and `outputs`. Samples have `solution` or `completion`.

    The expected output never enters the jail.
    """

    name = "stdio"
    brought_by = "Give a file of tasks with --data; docs/evals.md has its fields and a sample"
    timeout_s = 5.0

    def load(self, rows: list[Row]) -> dict[str, Task]:
        if rows and not rows[0].has("task_id"):
            rows = [
                Row(row.file, row.line, {**row.fields, "task_id": row.name("id")}) for row in rows
            ]
        return super().load(rows)

    def check_task(self, task: Task) -> None:
        if not _cases(task.row):
            raise task.row.bad("test", "holds no case")

    def trial(self, task: Task, sample: Sample) -> Program:
        return Program(answer_of(sample, "solution", "completion"), _cases(task.row), same_lines)

    def question(self, task: Task) -> str:
        row = task.row
        field = next((name for name in STATEMENTS if row.has(name)), STATEMENTS[0])
        return f"{row.text(field)}\n\nRead stdin and write stdout. {IN_ONE_BLOCK}"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"solution": script_in(text)}


def _cases(row: Row) -> tuple[Case, ...]:
    field = "test" if row.has("test") else "input_output"
    found = row.fields.get(field)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise row.bad(field, f"is no JSON: {error}") from error
    if isinstance(found, dict):
        inputs, outputs = found.get("inputs"), found.get("outputs")
        if not (isinstance(inputs, list) and isinstance(outputs, list)):
            raise row.bad(field, "needs the lists inputs and outputs")
        if len(inputs) != len(outputs):
            raise row.bad(field, f"has {len(inputs)} inputs and {len(outputs)} outputs")
        return tuple(map(Case, map(_joined, inputs), map(_joined, outputs)))
    if not isinstance(found, list):
        raise row.bad(field, "must be a list of cases")
    return tuple(
        Case(
            _inner(row, field, item, "input", "stdin"),
            _inner(row, field, item, "output", "stdout"),
        )
        for item in found
    )


def _inner(row: Row, field: str, item: Json, outer: str, inner: str) -> str:
    value = item.get(outer) if isinstance(item, dict) else None
    if isinstance(value, dict):
        value = value.get(inner)
    if not isinstance(value, str):
        raise row.bad(field, f"a case has no {outer}.{inner}")
    return value


def _joined(value: Json) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def same_lines(stdout: str, expected: str) -> bool:
    """Equal line by line, blanks at the ends aside; numbers may differ by a little."""
    ours, theirs = (text.strip().split("\n") for text in (stdout, expected))
    return len(ours) == len(theirs) and all(
        _same_line(one.rstrip(), other.rstrip()) for one, other in zip(ours, theirs, strict=True)
    )


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    ours, theirs = one.split(), other.split()
    return len(ours) == len(theirs) and all(
        _same_word(word, wanted) for word, wanted in zip(ours, theirs, strict=True)
    )


def _same_word(one: str, other: str) -> bool:
    if one == other:
        return True
    if "." not in one + other and "e" not in (one + other).lower():
        return False  # Whole numbers and words are exact.
    try:
        got, wanted = float(one), float(other)
    except ValueError:
        return False
    if not (math.isfinite(got) and math.isfinite(wanted)):
        return got == wanted
    return abs(got - wanted) <= RELATIVE * max(1.0, abs(wanted))
