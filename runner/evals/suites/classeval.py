"""ClassEval: a whole class, and several unittest classes over it."""

from runner.evals.samples.answers import program_in
from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import IN_ONE_BLOCK, Judged, Suite, answer_of


class ClassEval(Suite):
    """Samples have `solution` or `completion`, the class; the task's imports go before it.

    A sample passes when every test class does; the details tell each.
    """

    name = "classeval"
    brought_by = "Give ClassEval_data.json (repository FudanSELab/ClassEval, data/) with --data"
    timeout_s = 5.0
    preload = ("unittest.mock",)

    def check_task(self, task: Task) -> None:
        task.row.text("test")
        for field in ("test_classes", "import_statement"):
            task.row.texts(field)

    def trial(self, task: Task, sample: Sample) -> Judged:
        row = task.row
        imports = "\n".join(row.texts("import_statement"))
        source = f"{imports}\n{answer_of(sample, 'solution', 'completion')}\n"
        classes: list[Json] = [*row.texts("test_classes")]
        check: dict[str, Json] = {
            "kind": "unittest",
            "test": row.text("test"),
            "classes": classes,
            "imports": imports,
        }
        return Judged(source, check, "module")

    def question(self, task: Task) -> str:
        skeleton = task.row.text("skeleton")
        return f"Complete this class. {IN_ONE_BLOCK}\n\n```python\n{skeleton}\n```"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        names = [task.row.text("class_name")] if task.row.has("class_name") else []
        return {"solution": program_in(text, names)}

    def canonical(self, task: Task) -> str | None:
        return task.row.text("solution_code") if task.row.has("solution_code") else None
