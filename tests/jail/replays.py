"""Programs and what they once showed elsewhere: read, replayed, compared."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from sandbox import Limits, Sandbox
from sandbox.outcome import Completed, LimitExceeded, Outcome, Raised
from tests.corpora import Corpora

NO_OUTPUT = "[Executed Successfully with No Output]"
OUTPUT_CUT = "...\n[Output Truncated]"
"""What a source wrote where nothing was shown, and after 2,000 characters."""
DASHES = "-" * 75
"""Starts a traceback of IPython."""
IPYTHON_HEADER = re.compile(r"^(\w+) +Traceback \(most recent call last\)", re.MULTILINE)
IPYTHON_FRAME = re.compile(r"Cell In\[(\d+)\], line (\d+)")
SNIPPET_FRAME = re.compile(r'File "<snippet (\d+)>", line (\d+)')


class CorpusError(ValueError):
    """A data set does not hold what its description says."""


@dataclass(frozen=True)
class Task:
    """A function to complete, with its test."""

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str

    def program(self, completion: str) -> str:
        """What is run to judge `completion`: it passes if nothing is raised."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})\n"


@dataclass(frozen=True)
class Cell:
    """A snippet of a trace, and what its source showed; None where it noted nothing."""

    code: str
    recorded: str | None

    @property
    def blank_lines(self) -> int:
        """Empty lines at the start; IPython drops them and counts from the first other one."""
        return sum(1 for _ in takewhile(lambda line: not line.strip(), self.code.splitlines()))


@dataclass(frozen=True)
class Trace:
    """Snippets that ran one after the other in one session."""

    name: str
    """The id without its first part, which says who wrote the snippets."""
    cells: tuple[Cell, ...]


class Form(StrEnum):
    """How what the engine shows relates to what was recorded."""

    EXACT = "character for character"
    NOTEBOOK = "but for what a notebook adds: Out[n], a note for no output, ends of line"
    PRINTER = "but for the line breaks of IPython's printer in a long value"
    TRACEBACK = "the same error at the same lines, the traceback in another style"
    CUT = "the same error at the same lines, the record cut before its message"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Replayed:
    """A cell with a record, what became of it here, and how the two relate."""

    trace: str
    number: int
    outcome: Outcome
    form: Form


# ---- reading ------------------------------------------------------------------------------------


def tasks(corpora: Corpora) -> list[Task]:
    """The tasks of HumanEval's kind. Raises CorpusError."""
    try:
        return [Task(**row) for row in corpora.rows("humaneval")]
    except TypeError as error:
        raise CorpusError(f"{corpora['humaneval']}: {error}") from error


def traces(corpora: Corpora, name: str) -> list[Trace]:
    """The traces of a set. Raises CorpusError."""
    try:
        found = [
            Trace(
                row["id"].partition("/")[2],
                tuple(Cell(cell["code"], cell["observation"]) for cell in row["cells"]),
            )
            for row in corpora.rows(name)
        ]
    except KeyError as error:
        raise CorpusError(f"{corpora[name]}: a trace has no {error}") from error
    if len({trace.name for trace in found}) != len(found):
        raise CorpusError(f"{corpora[name]}: two traces have one name")
    return found


# ---- replaying ----------------------------------------------------------------------------------


def replay(box: Sandbox, trace: Trace, limits: dict[int, Limits]) -> list[Replayed]:
    """Run the cells of `trace` in one session; `limits` has those of some, by number from 1."""
    replayed = []
    with box.session() as session:
        for number, cell in enumerate(trace.cells, 1):
            outcome = session.run(cell.code, limits=limits.get(number))
            if cell.recorded is not None:
                form = compare(cell.recorded, outcome, trace.cells[:number])
                replayed.append(Replayed(trace.name, number, outcome, form))
    return replayed


def shown(outcome: Outcome) -> str:
    """What a reader of `outcome` sees of it, an error as its last line."""
    if isinstance(outcome, Completed):
        return outcome.stdout + (outcome.text or "")
    if isinstance(outcome, Raised):
        return f"{outcome.stdout}{outcome.error.type}: {outcome.error.message}"
    if isinstance(outcome, LimitExceeded):
        return f"{outcome.stdout}{outcome.status} {outcome.limit}"
    return f"{outcome.stdout}{outcome.status}"


def table(replayed: Sequence[Replayed]) -> Iterator[str]:
    """Lines that tell how many cells and traces show what was recorded, and in which form."""
    differing = {one.trace for one in replayed if one.form is Form.DIFFERENT}
    every = {one.trace for one in replayed}
    same = sum(one.form is not Form.DIFFERENT for one in replayed)
    yield f"{same} of {len(replayed)} cells with a record show the same: {same / len(replayed):.1%}"
    yield f"{len(every - differing)} of {len(every)} traces do in all their cells"
    for form in Form:
        count = sum(one.form is form for one in replayed)
        if count:
            yield f"{count:6}  {count / len(replayed):6.1%}  {form.value}"


# ---- comparing ----------------------------------------------------------------------------------


def compare(recorded: str, outcome: Outcome, cells: Sequence[Cell]) -> Form:
    """How `outcome`, of the last one of `cells`, relates to what its source `recorded`."""
    if isinstance(outcome, Raised):
        return _compare_error(recorded, outcome, cells)
    if not isinstance(outcome, Completed):
        return Form.DIFFERENT
    if shown(outcome) == recorded:
        return Form.EXACT
    if recorded == NO_OUTPUT:
        return Form.DIFFERENT if shown(outcome) else Form.NOTEBOOK
    bare = recorded.rstrip("\n")
    if shown(outcome).rstrip("\n") == bare:
        return Form.NOTEBOOK
    if outcome.text is None or not bare.startswith(outcome.stdout):
        return Form.DIFFERENT
    value = bare.removeprefix(outcome.stdout).removeprefix(f"Out[{len(cells)}]: ").lstrip("\n")
    if value == outcome.text:
        return Form.NOTEBOOK
    if "\n" not in outcome.text and re.sub(r",\n +", ", ", value) == outcome.text:
        return Form.PRINTER
    return Form.DIFFERENT


def _compare_error(recorded: str, outcome: Raised, cells: Sequence[Cell]) -> Form:
    printed, dashes, traceback = recorded.partition(DASHES)
    theirs = _places(IPYTHON_FRAME, traceback)
    ours = [
        (number, line - cells[number - 1].blank_lines)
        for number, line in _places(SNIPPET_FRAME, outcome.error.traceback)
    ]
    same_output = printed.rstrip("\n") == outcome.stdout.rstrip("\n")
    if not dashes or not same_output or theirs != ours:
        return Form.DIFFERENT
    if traceback.endswith(OUTPUT_CUT):
        kinds = IPYTHON_HEADER.findall(traceback)
        return Form.CUT if kinds and kinds[-1] == outcome.error.type else Form.DIFFERENT
    said = f"{outcome.error.type}: {outcome.error.message}".rstrip()
    return Form.TRACEBACK if re.search(rf"\s{re.escape(said)}\s*\Z", traceback) else Form.DIFFERENT


def _places(frame: re.Pattern[str], traceback: str) -> list[tuple[int, int]]:
    return [(int(number), int(line)) for number, line in frame.findall(traceback)]
