"""Recorded sessions replay with the same outputs, but for differences that are known.

`pytest -rA tests/jail/test_recorded_traces.py` prints the share of each set. A difference that is
not listed here fails, and so does a listed one that is gone.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Literal, NamedTuple

import pytest

from sandbox import Limits, Policy, Sandbox
from sandbox.outcome import Completed, ErrorInfo, LimitExceeded, Outcome, Raised
from tests.corpora import OWN, PUBLISHED
from tests.jail import replays
from tests.jail.replays import NO_OUTPUT, OUTPUT_CUT, Cell, Form

Set = Literal["traces", "traces_mathcoder", "traces_tora", "traces_mint"]
SIZES: dict[Set, tuple[int, int, int]] = {  # traces, cells, cells with a record
    "traces": (9, 17, 17),
    "traces_mathcoder": (63, 140, 140),
    "traces_tora": (40, 40, 40),
    "traces_mint": (60, 165, 159),
}


class Reason(StrEnum):
    """Why a cell shows something else than what was recorded."""

    SYMPY = "sympy's message names the relation since 1.14"
    PYTHON = "math.lcm came with Python 3.9; the source ran 3.8"
    HOST_TOOL = "the source's host put this function into the session"
    TIMEOUT = "the source stopped it after 30 s; it takes longer, and is stopped by a limit here"


class Known(NamedTuple):
    """A difference: its reason, and how what the engine shows begins."""

    reason: Reason
    shows: str


RELATION = Known(Reason.SYMPY, "TypeError: cannot determine truth value of Relational: ")
KNOWN: dict[Set, dict[tuple[str, int], Known]] = {  # trace and cell, counted from 1
    "traces": {},
    "traces_mathcoder": {},
    "traces_tora": {},
    "traces_mint": {
        ("math/2", 2): RELATION,
        ("math/2", 3): RELATION,
        ("math/7", 3): RELATION,
        ("mmlu/4", 1): Known(Reason.PYTHON, "240\n"),
        ("theoremqa/8", 1): Known(
            Reason.HOST_TOOL, "NameError: name 'wikipedia_search' is not defined"
        ),
        ("math/9", 3): Known(Reason.TIMEOUT, "limit_exceeded wall_s"),
    },
}
LIMITS = {("math/9", 3): Limits(wall_s=2)}
"""So that what takes 80 s is not waited for as long as its source did."""


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    limits = Limits(wall_s=120)  # A busy machine is no difference; `cpu_s` holds as it is.
    with Sandbox(Policy(preload=("numpy", "sympy"), limits=limits)) as opened:
        yield opened


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OWN.files else pytest.mark.corpora) for name in SIZES],
)
def test_every_cell_shows_what_was_recorded_or_differs_for_a_known_reason(
    box: Sandbox, name: Set
) -> None:
    traces = replays.traces(OWN if name in OWN.files else PUBLISHED, name)

    def replay(trace: replays.Trace) -> list[replays.Replayed]:
        limits = {number: limit for (of, number), limit in LIMITS.items() if of == trace.name}
        return replays.replay(box, trace, limits)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        replayed = [one for trace in threads.map(replay, traces) for one in trace]
    cells = sum(len(trace.cells) for trace in traces)
    assert (len(traces), cells, len(replayed)) == SIZES[name]

    different = {
        (one.trace, one.number): replays.shown(one.outcome)
        for one in replayed
        if one.form is Form.DIFFERENT
    }
    known = KNOWN[name]
    print(f"{name}: {len(traces)} traces, {cells} cells", *replays.table(replayed), sep="\n  ")
    for (trace, number), (reason, _) in known.items():
        print(f"  {trace} cell {number}: {reason.value}")
    unexplained = {
        place: text
        for place, text in different.items()
        if place not in known or not text.startswith(known[place].shows)
    }
    assert unexplained == {}
    assert known.keys() - different.keys() == set(), "these do not differ any more"


# ---- the comparison is no more lenient than it says ---------------------------------------------

LAYERS: tuple[str, ...] = ()
CELLS = (Cell("x = 1", None), Cell("\n\nx", None))


def completed(stdout: str = "", text: str | None = None) -> Outcome:
    return Completed(stdout=stdout, text=text, tier="namespaces", layers=LAYERS)


def raised(line: int, message: str = "no", stdout: str = "") -> Outcome:
    traceback = f'  File "<snippet 2>", line {line}, in <module>\nValueError: {message}\n'
    error = ErrorInfo(type="ValueError", message=message, traceback=traceback)
    return Raised(error=error, stdout=stdout, tier="namespaces", layers=LAYERS)


def plain_traceback(line: int, last: str) -> str:
    header = "ValueError                 Traceback (most recent call last)"
    return f"{replays.DASHES}\n{header}\nCell In[2], line {line}\n----> {line} x\n\n{last}"


@pytest.mark.parametrize(
    ("recorded", "outcome", "form"),
    [
        ("3\n", completed("3\n"), Form.EXACT),
        ("3", completed(text="3"), Form.EXACT),
        ("3", completed("3\n"), Form.NOTEBOOK),
        (NO_OUTPUT, completed(), Form.NOTEBOOK),
        ("Out[2]: 3", completed(text="3"), Form.NOTEBOOK),
        ("a\nOut[2]: 3", completed("a\n", "3"), Form.NOTEBOOK),
        ("Out[2]: \n[a,\n b]", completed(text="[a, b]"), Form.PRINTER),
        ("Out[2]: \n[1\n 2]", completed(text="[1\n 2]"), Form.NOTEBOOK),
        ("[a,\n b]", completed(text="[a, b]"), Form.PRINTER),
        (plain_traceback(1, "ValueError: no"), raised(3), Form.TRACEBACK),
        ("a\n" + plain_traceback(1, "ValueError: no"), raised(3, stdout="a\n"), Form.TRACEBACK),
        (plain_traceback(1, "Fil" + OUTPUT_CUT), raised(3), Form.CUT),
        ("3", completed(" 3"), Form.DIFFERENT),
        ("3", completed("3.0\n"), Form.DIFFERENT),
        (NO_OUTPUT, completed(text="3"), Form.DIFFERENT),
        ("Out[1]: 3", completed(text="3"), Form.DIFFERENT),
        ("[a,\n b]", completed("[a, b]\n"), Form.DIFFERENT),
        ("[a,\nb,\n c]", completed(text="[a,b, c]"), Form.DIFFERENT),
        ("ValueError: no", raised(3), Form.DIFFERENT),
        (plain_traceback(1, "ValueError: no"), completed(text="3"), Form.DIFFERENT),
        (plain_traceback(1, "ValueError: no"), raised(1), Form.DIFFERENT),
        (plain_traceback(1, "ValueError: no"), raised(3, "not"), Form.DIFFERENT),
        (plain_traceback(1, "ValueError: no, no"), raised(3), Form.DIFFERENT),
        (plain_traceback(1, "ValueError: no"), raised(3, stdout="a\n"), Form.DIFFERENT),
        (plain_traceback(2, "Fil" + OUTPUT_CUT), raised(3), Form.DIFFERENT),
    ],
)
def test_two_texts_are_the_same_only_in_a_listed_form(
    recorded: str, outcome: Outcome, form: Form
) -> None:
    assert replays.compare(recorded, outcome, CELLS) is form


def test_a_snippet_that_was_stopped_never_shows_the_same() -> None:
    outcome = LimitExceeded(
        stdout="3\n", limit="wall_s", allowed=1, observed=1, tier="namespaces", layers=LAYERS
    )
    assert replays.compare("3\n", outcome, CELLS) is Form.DIFFERENT
