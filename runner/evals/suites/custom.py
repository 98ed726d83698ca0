"""A user's own tasks, one JSON object a line.

| field | what it is |
|---|---|
| `task_id` | text or number; each once |
| `prompt` | optional; goes before a sample's `completion` |
| `kind` | "calls" (the default), "unittest", "stdio" or "answer" |
| `test` | for "calls": assert lines, or `check(candidate)`; for "unittest": test classes |
| `entry_point` | for "calls" with `check`: the function that `check` is called with |
| `helpers` | for "calls", optional: what the tests use beside the candidate's functions |
| `cases` | for "stdio": a list of {"input": text, "output": text} |
| `answer` | for "answer": what a sample's `response` must equal, blanks at the ends aside |
| `solution` | optional: a right answer |

Samples have `task_id` and `completion` or `solution`; for "answer" also `response`.
"""

import ast

from runner.evals.samples.answers import (
    built_in_names,
    completion_in,
    defined_by,
    names_called,
    program_in,
    script_in,
)
from runner.evals.samples.records import Json, Row, Sample, Task
from runner.evals.suites.base import (
    Answer,
    Case,
    Judged,
    Program,
    Suite,
    Trial,
    answer_of,
    whole_program,
)
from runner.evals.suites.stdio import same_lines

KINDS = ("calls", "unittest", "stdio", "answer")


class Custom(Suite):
    """Tasks of the schema above."""

    name = "custom"
    brought_by = "Give a file of tasks with --data; docs/evals.md has its fields and a sample"
    timeout_s = 5.0
    preload = ("unittest.mock",)

    def check_task(self, task: Task) -> None:
        row = task.row
        kind = row.text("kind", "calls")
        if kind not in KINDS:
            raise row.bad("kind", f"is {kind!r}", f"Kinds are {', '.join(KINDS)}")
        if kind in ("calls", "unittest"):
            _statements(row)
        elif kind == "answer":
            row.text("answer")
        else:
            self._cases(task)

    def trial(self, task: Task, sample: Sample) -> Trial:
        row = task.row
        kind = row.text("kind", "calls")
        if kind == "answer":
            text = answer_of(sample, "response", "completion", "solution")
            return Answer(text, row.text("answer"), same_text)
        program = whole_program(task, sample) + "\n"
        if kind == "stdio":
            return Program(program, self._cases(task), same_lines)
        if kind == "unittest":
            check: dict[str, Json] = {
                "kind": "unittest",
                "test": row.text("test"),
                "classes": [],
            }
            return Judged(program, check, "module")
        return Judged(
            program,
            {
                "kind": "calls",
                "helpers": row.text("helpers", ""),
                "test": row.text("test"),
                "entry": row.text("entry_point", ""),
                "call": _defines_check(row) and not _calls_check(row),
                "named": [*built_in_names(row.text("solution", ""), row.text("test"))],
            },
        )

    def question(self, task: Task) -> str:
        if task.row.text("kind", "calls") == "answer":
            return task.row.text("prompt")
        return super().question(task)

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        row = task.row
        kind = row.text("kind", "calls")
        if kind == "answer":
            return {"response": text}
        if kind == "stdio":
            return {"solution": script_in(text)}
        entry, prompt = row.text("entry_point", ""), row.text("prompt", "")
        if entry and entry in defined_by(prompt + "\n    pass\n"):
            return completion_in(text, prompt, entry)
        names = {entry} if entry else _names(row)
        return {"solution": program_in(text, names)}

    def canonical(self, task: Task) -> str | None:
        return task.row.text("solution") if task.row.has("solution") else None

    @staticmethod
    def _cases(task: Task) -> tuple[Case, ...]:
        cases = []
        for item in task.row.items("cases"):
            given = item.get("input", "") if isinstance(item, dict) else None
            wanted = item.get("output") if isinstance(item, dict) else None
            if not (isinstance(given, str) and isinstance(wanted, str)):
                raise task.row.bad("cases", "a case needs the texts input and output")
            cases.append(Case(given, wanted))
        if not cases:
            raise task.row.bad("cases", "holds no case")
        return tuple(cases)


def _statements(row: Row) -> list[ast.stmt]:
    test = row.text("test")
    try:
        return ast.parse(test).body
    except (SyntaxError, ValueError) as error:
        raise row.bad("test", f"is no Python: {error}") from error


def _names(row: Row) -> set[str]:
    """What an answer has to define."""
    test = row.text("test")
    named = {*built_in_names(row.text("solution", ""), test)}
    return names_called(f"{row.text('helpers', '')}\n{test}") | named


def _defines_check(row: Row) -> bool:
    body = _statements(row)
    return any(isinstance(one, ast.FunctionDef) and one.name == "check" for one in body)


def _calls_check(row: Row) -> bool:
    """Whether the test calls `check` by itself, at its end or elsewhere on top."""
    return any(
        isinstance(one, ast.Expr)
        and isinstance(one.value, ast.Call)
        and isinstance(one.value.func, ast.Name)
        and one.value.func.id == "check"
        for one in _statements(row)
    )


def same_text(given: str, wanted: str) -> bool:
    """Equal, blanks at the ends aside."""
    return given.strip() == wanted.strip()
