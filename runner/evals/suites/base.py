"""What a suite is: its data, what a model is asked, how an answer becomes a program, and judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import ClassVar, Literal, NamedTuple

from runner.evals.errors import BadInput
from runner.evals.samples.answers import program_in
from runner.evals.samples.files import index_tasks
from runner.evals.samples.records import Json, Row, Sample, Task

IN_ONE_BLOCK = "Answer with the whole program in one block of Python code."
BYTE_ORDER_MARK = "\ufeff"
"""Python takes it at the beginning of a file; a text that is executed would fail by it."""
Place = Literal["names", "module"]
"""Run the candidate in bare names, as exec does, or in a module of its own."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A trusted solution whose values are what the candidate's must be."""

    source: str
    entry: str
    groups: dict[str, list[Json]]
    """Lists of argument lists, encoded as the guest's `codec` module does."""
    rule: str = ""
    """By which values are compared; see the guest's `compare` module."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate that a judge in the jail examines; `check` is what the judge gets."""

    source: str
    check: dict[str, Json]
    place: Place = "names"
    reference: Reference | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


class Case(NamedTuple):
    """One run of a program: what it reads, and what it should write."""

    stdin: str
    expected: str


@dataclass(frozen=True, slots=True)
class Program:
    """A candidate that is a whole program: run once a case, its stdout judged on the host."""

    source: str
    cases: tuple[Case, ...]
    accept: Callable[[str, str], bool]
    """Whether (stdout, expected) is right."""
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A text that is the answer itself: judged on the host, nothing is run."""

    text: str
    expected: str
    accept: Callable[[str, str], bool]


Trial = Judged | Program | Answer


class Suite(ABC):
    """A benchmark. One instance a run; `load` is called first."""

    name: ClassVar[str]
    id_field: ClassVar[str] = "task_id"
    timeout_s: ClassVar[float] = 3.0
    """CPU seconds of a sample on a machine of the reference speed."""
    preload: ClassVar[tuple[str, ...]] = ()
    """What its tests and candidates import most, beside what all suites do: each jail has it from
    the start, where it is installed.
    """
    brought_by: ClassVar[str] = "Name its file with --data"
    """What to do where the data is not here: the package or the file that brings it."""
    packaged: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(package, file) where the data may be installed."""

    def load(self, rows: list[Row]) -> dict[str, Task]:
        """The tasks of the suite's data. Raises BadInput."""
        if not rows:
            raise BadInput("", "the suite has no tasks")
        tasks = index_tasks(rows, self.id_field)
        for task in tasks.values():
            self.check_task(task)
        return tasks

    @classmethod
    def preloads(cls) -> tuple[str, ...]:
        """Those of `preload` that are installed here."""
        return tuple(name for name in cls.preload if find_spec(name) is not None)

    @abstractmethod
    def check_task(self, task: Task) -> None:
        """Raise BadInput if a field that will be needed is missing or of a wrong type."""

    @abstractmethod
    def trial(self, task: Task, sample: Sample) -> Trial:
        """How `sample` is run and judged. Raises BadInput."""

    def question(self, task: Task) -> str:
        """What a model is asked for an answer to `task`. Raises BadInput."""
        return f"{task.row.text('prompt')}\n\n{IN_ONE_BLOCK}"

    def answer(self, task: Task, text: str) -> dict[str, Json]:
        """The fields of a sample, from the `text` of a model's answer."""
        return {"solution": program_in(text)}

    def canonical(self, task: Task) -> str | None:
        """A solution that comes with the data, as a sample's `solution`; None if none does."""
        return None


def whole_program(task: Task, sample: Sample) -> str:
    """A sample's `solution` as it is, or its `completion` behind the task's prompt."""
    if sample.row.has("solution"):
        return sample.row.text("solution").removeprefix(BYTE_ORDER_MARK)
    if not sample.row.has("completion"):
        raise sample.row.missing("completion", "solution")
    completion = sample.row.text("completion").removeprefix(BYTE_ORDER_MARK)
    return task.row.text("prompt", "") + completion


def answer_of(sample: Sample, *fields: str) -> str:
    """The text of the first of `fields` that the sample has. Raises BadInput."""
    for name in fields:
        if sample.row.has(name):
            return sample.row.text(name).removeprefix(BYTE_ORDER_MARK)
    raise sample.row.missing(*fields)
