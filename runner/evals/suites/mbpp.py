"""MBPP: a program, then assert lines that call its functions."""

from runner.evals.samples.answers import built_in_names, names_called, program_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, Suite, answer_of


class Mbpp(Suite):
    """Samples have `solution` or `completion`; either is the whole program."""

    name = "mbpp"
    brought_by = (
        "Give sanitized-mbpp.json or mbpp.jsonl (repository "
        "google-research/google-research, mbpp/) with --data"
    )
    timeout_s = 3.0

    def check_task(self, task: Task) -> None:
        task.row.texts("test_list")
        self._setup(task)

    def trial(self, task: Task, sample: Sample) -> Judged:
        source = answer_of(sample, "solution", "completion")
        test = "\n".join([*self._setup(task), *task.row.texts("test_list")])
        named: list[Json] = [*built_in_names(task.row.text("code", ""), test)]
        check: dict[str, Json] = {
            "kind": "calls",
            "helpers": "",
            "test": test,
            "entry": "",
            "call": False,
            "named": named,
        }
        return Judged(source + "\n", check)

    def question(self, task: Task) -> str:
        wanted = task.row.text("prompt" if task.row.has("prompt") else "text")
        tests = "\n".join(task.row.texts("test_list"))
        return f"{wanted}\n\nIt must pass:\n\n```python\n{tests}\n```\n\n{IN_ONE_BLOCK}"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"solution": program_in(text, self._names(task))}

    def canonical(self, task: Task) -> str | None:
        return task.row.text("code") if task.row.has("code") else None

    @staticmethod
    def _names(task: Task) -> set[str]:
        """What an answer has to define."""
        test = "\n".join(task.row.texts("test_list"))
        return names_called(test) | {*built_in_names(task.row.text("code", ""), test)}

    @staticmethod
    def _setup(task: Task) -> list[str]:
        if task.row.has("test_setup_code"):
            return [task.row.text("test_setup_code")]
        return task.row.texts("test_imports", [])
