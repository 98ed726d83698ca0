"""BigCodeBench: a function of many libraries, and one unittest class, `TestCases`."""

from runner.evals.samples.answers import completion_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, Suite, answer_of


class BigCodeBench(Suite):
    """Samples have `completion`, which follows the prompt, or `solution`, the whole program."""

    name = "bigcodebench"
    brought_by = "Give BigCodeBench.jsonl (data set bigcode/bigcodebench) with --data"
    timeout_s = 20.0
    preload = ("unittest.mock",)

    def check_task(self, task: Task) -> None:
        for field in ("test", "entry_point"):
            task.row.text(field)

    def trial(self, task: Task, sample: Sample) -> Judged:
        is_whole = sample.row.has("solution")
        source = answer_of(sample, "solution", "completion")
        if not is_whole:
            source = _prompt(task) + source
        return Judged(
            source + "\n",
            {"kind": "unittest", "test": task.row.text("test"), "classes": ["TestCases"]},
            "module",
        )

    def question(self, task: Task) -> str:
        return f"Complete this program. {IN_ONE_BLOCK}\n\n```python\n{_prompt(task)}\n```"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return completion_in(text, _prompt(task), task.row.text("entry_point"))

    def canonical(self, task: Task) -> str | None:
        if not task.row.has("canonical_solution"):
            return None
        return _prompt(task) + task.row.text("canonical_solution")


def _prompt(task: Task) -> str:
    return task.row.text("complete_prompt" if task.row.has("complete_prompt") else "prompt", "")
