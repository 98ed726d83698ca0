"""CRUXEval: say what a function gives for an input, or an input that gives an output."""

from runner.evals.samples.answers import value_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import Judged, Suite, answer_of


class CruxEval(Suite):
    """Samples have `prediction` (or `completion`) and `mode`: "output", which is the default, or
    "input". The function runs at the judge; a prediction of the output is a literal, and one of
    the input is its arguments, literals too, with or without `f( )` around them.

    The reference harness pastes a prediction behind `==`: there `value, anything`, `x or True`
    and `(f)(input)` pass. Here nothing of a prediction is run.
    """

    name = "cruxeval"
    brought_by = "Give cruxeval.jsonl (repository facebookresearch/cruxeval, data/) with --data"
    id_field = "id"
    timeout_s = 3.0

    def check_task(self, task: Task) -> None:
        for field in ("code", "input", "output"):
            task.row.text(field)

    def trial(self, task: Task, sample: Sample) -> Judged:
        row = task.row
        mode = sample.row.text("mode", "output")
        if mode not in ("output", "input"):
            raise sample.row.bad("mode", f"is {mode!r} and must be 'output' or 'input'")
        check: dict[str, Json] = {
            "kind": "value",
            "code": row.text("code"),
            "input": row.text("input"),
            "output": row.text("output"),
            "mode": mode,
            "text": answer_of(sample, "prediction", "completion").strip(),
        }
        return Judged("", check)

    def question(self, task: Task) -> str:
        row = task.row
        return (
            f"```python\n{row.text('code')}\n```\n\nWhat does f({row.text('input')}) return?"
            " Answer with the value alone, as a Python literal in one block of code."
        )

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"prediction": value_in(text)}

    def canonical(self, task: Task) -> str | None:
        return task.row.text("output")
