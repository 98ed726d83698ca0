"""What is wrong with a suite, a samples file or an output; each error names file, line, field."""

from runner.errors import RunnerError, sentences


class EvalError(RunnerError):
    """Base of the errors of an evaluation."""


class BadInput(EvalError, ValueError):
    """A file holds what it must not. `line` is 0 and `field` empty where none is at fault."""

    def __init__(
        self, file: str, problem: str, *, line: int = 0, field: str = "", remedy: str = ""
    ) -> None:
        self.file = file
        self.line = line
        self.field = field
        self.problem = problem
        self.remedy = remedy
        place = f"{file}:{line}" if line else file
        where = ": ".join(part for part in (place, field) if part)
        super().__init__(sentences(f"{where}: {problem}" if where else problem, remedy))

    def __reduce__(self) -> tuple[object, ...]:
        return _bad_input, (self.file, self.problem, self.line, self.field, self.remedy)


def _bad_input(file: str, problem: str, line: int, field: str, remedy: str) -> BadInput:
    return BadInput(file, problem, line=line, field=field, remedy=remedy)


class OutputFailed(EvalError, OSError):
    """A result could not be written. `saved` results are in `file` and can be gone on with."""

    def __init__(self, file: str, detail: str, saved: int) -> None:
        self.file = file
        self.detail = detail
        self.saved = saved
        super().__init__(
            sentences(
                f"Results cannot be written to {file}: {detail}",
                f"{saved} results are safe; make room and run again with --resume",
            )
        )


class GenerationFailed(EvalError):
    """The model's endpoint left `missing` answers out; `saved` samples are in the file."""

    def __init__(self, detail: str, *, missing: int, saved: int) -> None:
        self.detail = detail
        self.missing = missing
        self.saved = saved
        super().__init__(
            sentences(
                f"{missing} answers did not come, the first because: {detail}",
                f"{saved} samples are safe; run again with --resume",
            )
        )


class GradingFailed(EvalError):
    """The grader itself could not decide; worth another try. `detail` says what it saw."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(sentences(f"No verdict: {detail}"))
