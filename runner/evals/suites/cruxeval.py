"""CRUXEval: say what a function gives for an input, or an input that gives an output."""

import ast

from runner.evals.samples.records import Json, Sample, Task
from runner.evals.suites.base import Judged, Suite, answer_of, code_in


class CruxEval(Suite):
    """Samples have `prediction` (or `completion`) and `mode`: "output", which is the default, or
    "input". The function runs at the judge; a prediction of the output is a value, and one of
    the input is its arguments, with or without `f( )` around them.

    The reference harness pastes a prediction behind `==`: there `value, anything` and `x or True`
    pass. Here it is one expression, and its value is compared.
    """

    name = "cruxeval"
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
        text = answer_of(sample, "prediction", "completion").strip()
        if mode == "input":
            text = _arguments(text)
        elif f"f({row.text('input')})" in text:
            # To repeat the question is no answer.
            text = "raise_no_prediction"
        check: dict[str, Json] = {
            "kind": "value",
            "code": row.text("code"),
            "output": row.text("output"),
            "mode": mode,
            "text": text,
        }
        return Judged(row.text("code"), check)

    def question(self, task: Task) -> str:
        row = task.row
        return (
            f"```python\n{row.text('code')}\n```\n\nWhat does f({row.text('input')}) return?"
            " Answer with the value alone, as a Python literal in one block of code."
        )

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        return {"prediction": code_in(text).strip()}

    def canonical(self, task: Task) -> str | None:
        return task.row.text("output")


def _arguments(text: str) -> str:
    """An expression for (positional, by keyword) of a call of `f`, or of its bare arguments."""
    try:
        call = ast.parse(text if text.startswith("f(") else f"f({text})", mode="eval").body
    # The text is the model's: too deep or too odd for the parser is for the candidate to meet.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"f({text})"
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return "raise_no_call_of_f"
    positional = "".join(ast.unparse(one) + ", " for one in call.args)
    keywords = ", ".join(
        f"{one.arg}={ast.unparse(one.value)}" if one.arg else f"**{ast.unparse(one.value)}"
        for one in call.keywords
    )
    return f"(({positional}), dict({keywords}))"
