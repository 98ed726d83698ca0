"""Errors and stacks that a snippet is shown: as Python shows those of a program, its own alone."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox, Session
from sandbox.outcome import Raised
from tests.jail.echoes import text


@pytest.fixture(scope="module")
def real() -> Iterator[Session]:
    """One session for all: none looks at what was there before."""
    with Sandbox(Policy(), pool_size=0) as box, box.session() as session:
        session.run("1")  # From now on what the host holds for it stays the same.
        yield session


def test_a_stack_that_a_snippet_prints_is_its_own(real: Session) -> None:
    outcome = real.run("import traceback\ndef f(): traceback.print_stack()\nf()")
    places = [line for line in outcome.stderr.splitlines() if line.startswith("  File")]
    assert [place.partition(", ")[2] for place in places[-2:]] == [
        "line 3, in <module>",
        "line 2, in f",
    ]
    assert all("<snippet" in place for place in places)


def test_a_stack_that_a_snippet_dumps_is_its_own(real: Session) -> None:
    outcome = real.run("import faulthandler\ndef f(): faulthandler.dump_traceback()\nf()")
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("Current thread 0x")
    assert [line.partition(", ")[2] for line in lines[1:]] == ["line 2 in f", "line 3 in <module>"]
    code = (
        "import threading\nstop = threading.Event()\nt = threading.Thread(target=stop.wait)\n"
        "t.start()\nwith open('dump', 'w+') as file:\n    faulthandler.dump_traceback(file)\n"
        "    file.seek(0)\n    dumped = file.read()\nstop.set(); t.join()\n"
        "'in wait' in dumped, dumped.count('hread 0x'), '/guest/' in dumped"
    )
    assert text(real, code) == "(True, 2, False)"


def test_a_stack_that_a_snippet_asks_for_is_its_own(real: Session) -> None:
    for ask in (
        "[one.function for one in inspect.stack()]",
        "[one.name for one in extract()][::-1]",
    ):
        code = (
            "import inspect\nfrom traceback import extract_stack as extract\n"
            f"def f(): return {ask}\ndef g(): return f()\nseen = g()\n[*seen]"
        )
        seen = text(real, code) or ""
        assert seen.replace("'<listcomp>', ", "") == "['f', 'g', '<module>']"
    code = (
        "import inspect\nframe = inspect.currentframe()\nouter = inspect.getouterframes(frame, 3)"
    )
    assert text(real, f"{code}\n[(o.lineno, len(o.code_context)) for o in outer]") == "[(3, 3)]"


MEANT = {
    "total = 5\nprint(totl)": "NameError: name 'totl' is not defined. Did you mean: 'total'?",
    "import math\nmath.sqroot(4)": (
        "AttributeError: module 'math' has no attribute 'sqroot'. Did you mean: 'sqrt'?"
    ),
    "class A:\n    value = 1\nA().valeu": (
        "AttributeError: 'A' object has no attribute 'valeu'. Did you mean: 'value'?"
    ),
    "def f(count): return coutn\nf(1)": (
        "NameError: name 'coutn' is not defined. Did you mean: 'count'?"
    ),
    "pritn(1)": "NameError: name 'pritn' is not defined. Did you mean: 'print'?",
    "nothing_like_it": "NameError: name 'nothing_like_it' is not defined",
    "class B:\n    def __dir__(self): return 1 / 0\nB().x": (
        "AttributeError: 'B' object has no attribute 'x'"
    ),
}


@pytest.mark.parametrize("code", MEANT)
def test_a_name_that_is_not_there_is_told_with_what_was_meant(real: Session, code: str) -> None:
    outcome = real.run(code)
    assert isinstance(outcome, Raised)
    assert outcome.error.traceback.splitlines()[-1] == MEANT[code]


def test_an_error_of_a_thread_is_shown_with_its_lines(real: Session) -> None:
    outcome = real.run(
        "import threading\ndef f(): raise KeyError('k')\n"
        "t = threading.Thread(target=f, name='T1')\nt.start()\nt.join()"
    )
    lines = outcome.stderr.splitlines()
    assert lines[:2] == ["Exception in thread T1:", "Traceback (most recent call last):"]
    assert "    def f(): raise KeyError('k')" in lines
    assert lines[-1] == "KeyError: 'k'"
    assert real.run("threading.Thread(target=exit).start()").stderr == ""


def test_an_error_that_nothing_can_catch_is_shown_with_its_lines(real: Session) -> None:
    outcome = real.run(
        "class A:\n    def __del__(self): raise ValueError('in del')\na = A()\ndel a"
    )
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("Exception ignored in: <function A.__del__ at 0x")
    assert "    def __del__(self): raise ValueError('in del')" in lines
    assert lines[-1] == "ValueError: in del"
