"""BigCodeBench: a function of many libraries, and one unittest class, `TestCases`."""

from runner.evals.records import Sample, Task
from runner.evals.suites.base import Judged, Suite


class BigCodeBench(Suite):
    """Samples have `completion`, which follows the prompt, or `solution`, the whole program."""

    name = "bigcodebench"
    timeout_s = 20.0

    def check_task(self, task: Task) -> None:
        for field in ("test", "entry_point"):
            task.row.text(field)

    def trial(self, task: Task, sample: Sample) -> Judged:
        prompt = "complete_prompt" if task.row.has("complete_prompt") else "prompt"
        source = (
            sample.row.text("solution")
            if sample.row.has("solution")
            else task.row.text(prompt, "") + sample.row.text("completion")
        )
        return Judged(
            source + "\n",
            {"kind": "unittest", "test": task.row.text("test"), "classes": ["TestCases"]},
            "module",
        )

    def canonical(self, task: Task) -> str | None:
        if not task.row.has("canonical_solution"):
            return None
        prompt = "complete_prompt" if task.row.has("complete_prompt") else "prompt"
        return task.row.text(prompt) + task.row.text("canonical_solution")
