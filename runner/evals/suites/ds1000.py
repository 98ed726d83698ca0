"""DS-1000 style: a solution is put into a context that runs and compares it."""

from runner.evals.samples.records import Sample, Task
from runner.evals.suites.base import Judged, Suite, answer_of


class Ds1000(Suite):
    """Tasks have `code_context` with `test_execution(solution)` and perhaps `test_string`.

    The context compares objects of the candidate's libraries in the candidate's process, so this
    suite is the one where a candidate that sets out to lie can.
    """

    name = "ds1000"
    brought_by = "Give ds1000.jsonl.gz (repository xlang-ai/DS-1000, data/) with --data"
    timeout_s = 30.0

    def check_task(self, task: Task) -> None:
        context = task.row.text("code_context")
        if "def test_execution" not in context:
            raise task.row.bad("code_context", "defines no test_execution")

    def trial(self, task: Task, sample: Sample) -> Judged:
        solution = answer_of(sample, "solution", "completion", "code")
        return Judged(
            "",
            {
                "kind": "context",
                "context": task.row.text("code_context"),
                "solution": solution,
            },
        )

    def canonical(self, task: Task) -> str | None:
        return task.row.text("reference_code") if task.row.has("reference_code") else None
