"""MBPP: a program, then assert lines that call its functions."""

from runner.evals.samples.records import Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, Suite, answer_of


class Mbpp(Suite):
    """Samples have `solution` or `completion`; either is the whole program."""

    name = "mbpp"
    timeout_s = 3.0

    def check_task(self, task: Task) -> None:
        task.row.texts("test_list")
        self._setup(task)

    def trial(self, task: Task, sample: Sample) -> Judged:
        source = answer_of(sample, "solution", "completion")
        test = "\n".join([*self._setup(task), *task.row.texts("test_list")])
        return Judged(
            source + "\n",
            {"kind": "calls", "helpers": "", "test": test, "entry": "", "call": False},
        )

    def question(self, task: Task) -> str:
        wanted = task.row.text("prompt" if task.row.has("prompt") else "text")
        tests = "\n".join(task.row.texts("test_list"))
        return f"{wanted}\n\nIt must pass:\n\n```python\n{tests}\n```\n\n{IN_ONE_BLOCK}"

    def canonical(self, task: Task) -> str | None:
        return task.row.text("code") if task.row.has("code") else None

    @staticmethod
    def _setup(task: Task) -> list[str]:
        if task.row.has("test_setup_code"):
            return [task.row.text("test_setup_code")]
        return task.row.texts("test_imports", [])
