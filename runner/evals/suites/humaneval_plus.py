"""HumanEval+: the candidate's values against the reference's, over base and further inputs."""

from typing import ClassVar

from runner.evals.samples.answers import completion_in
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites.base import (
    IN_ONE_BLOCK,
    Judged,
    Reference,
    Suite,
    whole_program,
)


class HumanEvalPlus(Suite):
    """Every input of `base_input` and `plus_input`; both are reported apart in the details."""

    name = "humaneval-plus"
    brought_by = (
        "Give HumanEvalPlus.jsonl.gz (repository evalplus/humanevalplus_release) with --data"
    )
    timeout_s = 5.0
    packaged = (("evalplus", "HumanEvalPlus.jsonl.gz"),)
    rules: ClassVar[dict[str, str]] = {"find_zero": "root"}
    """Entry point: by what other rule than equality its values are judged."""

    def check_task(self, task: Task) -> None:
        row = task.row
        for field in ("prompt", "entry_point", "canonical_solution"):
            row.text(field)
        for field in ("base_input", "plus_input"):
            if not all(isinstance(args, list) for args in argument_lists(row, field)):
                raise row.bad(field, "must be a list of argument lists")
        row.number("atol", 0)

    def inputs(self, task: Task, field: str) -> list[Json]:
        """The argument lists in `field`, encoded for the guest."""
        return [encoded(args) for args in argument_lists(task.row, field)]

    def trial(self, task: Task, sample: Sample) -> Judged:
        row = task.row
        entry = row.text("entry_point")
        check: dict[str, Json] = {
            "kind": "inputs",
            "entry": entry,
            "rule": self.rules.get(entry, ""),
            "atol": row.number("atol", 0),
        }
        groups: dict[str, list[Json]] = {
            "base": self.inputs(task, "base_input"),
            "plus": self.inputs(task, "plus_input"),
        }
        solution = row.text("prompt") + row.text("canonical_solution")
        reference = Reference(solution, entry, groups, self.rules.get(entry, ""))
        return Judged(whole_program(task, sample), check, reference=reference)

    def question(self, task: Task) -> str:
        prompt = task.row.text("prompt")
        return f"Complete this program. {IN_ONE_BLOCK}\n\n```python\n{prompt}\n```"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return completion_in(text, task.row.text("prompt"), task.row.text("entry_point"))

    def canonical(self, task: Task) -> str | None:
        return task.row.text("prompt") + task.row.text("canonical_solution")


def argument_lists(row: Row, field: str) -> list[Json]:
    """The list in `field`; the published files write an empty one in other ways too."""
    if field == "plus_input" and row.fields.get(field, "") in ({}, "", None):
        return []
    return row.items(field)


def encoded(value: Json) -> Json:
    """A value of a JSON file as the guest's `codec` module has it."""
    if isinstance(value, list):
        return [encoded(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[key, encoded(item)] for key, item in value.items()]}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return {"int": hex(value)}
    return value
