"""The records of an evaluation: rows of files, tasks, samples, verdicts."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from runner.evals.errors import BadInput

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

OutcomeName = Literal[
    "passed", "failed", "timed_out", "out_of_memory", "crashed", "refused", "infrastructure"
]
FailureReason = Literal[
    "wrong_answer",
    "exception",
    "syntax_error",
    "timed_out",
    "out_of_memory",
    "crashed",
    "refused",
    "infrastructure",
]
SCORED: tuple[OutcomeName, ...] = (
    "passed",
    "failed",
    "timed_out",
    "out_of_memory",
    "crashed",
    "refused",
)
"""Outcomes that say something about a sample; the other one is the machine's."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file, which knows where it stands."""

    file: str
    line: int
    fields: Mapping[str, Json]

    def text(self, name: str, default: str | None = None) -> str:
        """The text in field `name`. Raises BadInput."""
        value = self.fields.get(name, default)
        if value is None:
            raise self.missing(name)
        if not isinstance(value, str):
            raise self.bad(name, f"is {_kind(value)} and must be text")
        return value

    def name(self, name: str) -> str:
        """A text or a whole number, as text: ids are written either way. Raises BadInput."""
        value = self.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def number(self, name: str, default: float | None = None) -> float:
        """The number in field `name`. Raises BadInput."""
        value = self.fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            if value is None:
                raise self.missing(name)
            raise self.bad(name, f"is {_kind(value)} and must be a number")
        return value

    def items(self, name: str, default: list[Json] | None = None) -> list[Json]:
        """The list in field `name`. Raises BadInput."""
        value = self.fields.get(name, default)
        if not isinstance(value, list):
            if value is None:
                raise self.missing(name)
            raise self.bad(name, f"is {_kind(value)} and must be a list")
        return value

    def texts(self, name: str, default: list[Json] | None = None) -> list[str]:
        """The list of texts in field `name`. Raises BadInput."""
        items = self.items(name, default)
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) != len(items):
            raise self.bad(name, "must be a list of texts")
        return texts

    def has(self, name: str) -> bool:
        """Whether field `name` is there and not null."""
        return self.fields.get(name) is not None

    def missing(self, *names: str) -> BadInput:
        """The error that none of the fields `names` is there, with the one that was misspelt."""
        for name in names:
            for near in difflib.get_close_matches(name, self.fields, n=1):
                if near not in names:
                    return self.bad(near, "is no field of a row", f"Did you mean {name!r}?")
        others = f"Give it, or {' or '.join(names[1:])}" if names[1:] else ""
        return self.bad(names[0], "is missing", others)

    def bad(self, field: str, problem: str, remedy: str = "") -> BadInput:
        """The error that names this row and `field`."""
        return BadInput(self.file, problem, line=self.line, field=field, remedy=remedy)


def _kind(value: Json) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


@dataclass(frozen=True, slots=True)
class Task:
    """A question of a suite: its id and the row that it was read from."""

    task_id: str
    row: Row


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to a task; `index` is its place in the samples, from 0."""

    index: int
    task_id: str
    row: Row


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spent(_Record):
    """What the runs of one sample took; the most of them where there were several."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


class Verdict(_Record):
    """What became of one sample. `result` is the text that the reference harness would give."""

    outcome: OutcomeName
    result: str
    error: str = ""
    """Name of the exception that ended the test, if one did."""
    stderr: str = ""
    """The traceback, or what a program wrote to stderr; cut."""
    usage: Spent = Spent()
    details: dict[str, object] = {}
    attempts: int = 1
    flaky: str = ""
    """Why the verdict may be another one the next time; empty if nothing speaks for that."""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    @property
    def failure_reason(self) -> FailureReason | None:
        """Why a sample did not pass, in one word of few; None if it did."""
        if self.outcome == "passed":
            return None
        if self.outcome != "failed":
            return self.outcome
        if self.error in ("SyntaxError", "IndentationError", "TabError"):
            return "syntax_error"
        # A program's wrong answer has no error of its own.
        return "wrong_answer" if self.error in ("AssertionError", "") else "exception"

    @property
    def reward_valid(self) -> bool:
        """Whether the verdict says something about the sample: a failure of the machine does not,
        and is no zero.
        """
        return self.outcome != "infrastructure"

    @property
    def mask_sample(self) -> bool:
        """Whether to leave the sample out of training: no verdict, or one in doubt."""
        return not self.reward_valid or bool(self.flaky)
