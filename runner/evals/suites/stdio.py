"""Contest problems: a program that reads stdin and writes stdout."""

import json
import math
import re

from runner.evals.samples.answers import script_in
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Case, Program, Suite, answer_of

STATEMENTS = ("question", "description", "content", "prompt")
"""Fields that may hold a problem's words."""
RELATIVE = 1e-4
"""How far a number may be from a wanted one that is no whole one, as part of it or absolute."""
NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity)")
"""What a program prints for a number; Python itself reads `1_0.0` and digits of any script too."""
NUMBER_CAP = 5000
"""Characters of one that is read."""


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
    """Equal line by line, blanks at the ends aside; numbers may differ by a little.

    Costs no more than a look at what was printed, and memory as what was expected.
    """
    ours, theirs = stdout.strip(), expected.strip()
    if ours.count("\n") != theirs.count("\n"):
        return False
    return all(
        _same_line(one.rstrip(), other.rstrip())
        for one, other in zip(ours.split("\n"), theirs.split("\n"), strict=True)
    )


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    theirs = other.split()
    ours = one.split(None, len(theirs))
    return len(ours) == len(theirs) and all(
        _same_word(word, wanted) for word, wanted in zip(ours, theirs, strict=True)
    )


def _same_word(one: str, other: str) -> bool:
    if one == other:
        return True
    if _is_whole(one) and _is_whole(other):
        return False  # Whole numbers and words are exact.
    got, wanted = number_in(one), number_in(other)
    if got is None or wanted is None:
        return False
    if not (math.isfinite(got) and math.isfinite(wanted)):
        return got == wanted
    # A whole number that is wanted is not met by one a few ones beside it.
    scale = 1.0 if _is_whole(other) else max(1.0, abs(wanted))
    return abs(got - wanted) <= RELATIVE * scale


def _is_whole(word: str) -> bool:
    return "." not in word and "e" not in word.lower()


def number_in(word: str) -> float | None:
    """The number that `word` is; None if it is none."""
    if len(word) > NUMBER_CAP or NUMBER.fullmatch(word) is None:
        return None
    return float(word)
