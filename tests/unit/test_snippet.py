"""One snippet after the other: echo, source, await, exit, interrupt, children."""

import builtins
import gc
import os
import sys
import warnings
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.session.compiler import TREE_CAP
from sandbox.protocol.frames import FrameReader
from sandbox.protocol.messages import TO_HOST_CAP_BYTES, Done, pack, unpack
from tests.unit.snippets import Snippets, snippets

LONG = "x = 1\n" * (TREE_CAP // 6 + 1)
"""Statements enough that no syntax tree is made of them."""


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made


# ---- echo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 + 1", "2"),
        ("x = 5; x", "5"),
        ("'a\\nb'", "'a\\nb'"),
        ('"""a docstring"""', "'a docstring'"),
        ("(1,\n 2)  # two", "(1, 2)"),
        ("None", None),
        ("x = 5", None),
        ("", None),
        ("# nothing", None),
        ("\n\n", None),
        ("print", "<built-in function print>"),
        ("if True:\n    7", None),
        ("\ufeff1 + 2", "3"),
        ("if 1:\r\n\ty = 3\r\ny\r\n", "3"),
        ("y = '''a\rb'''\ry", "'a\\nb'"),
        ("*(1, 2), 3", "(1, 2, 3)"),
        ("(y := 4)", "4"),
    ],
)
def test_a_last_bare_expression_is_echoed_as_its_repr(
    session: Snippets, code: str, text: str | None
) -> None:
    assert session.text(code) == text


@pytest.mark.parametrize("code", ["1 is 1", "assert (1, 2)", "'\\d'", "del '\\d'"])
def test_a_warning_of_the_compiler_is_given_once(session: Snippets, code: str) -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        session.run(code)
    assert [one.lineno for one in given] == [1]


@pytest.mark.parametrize("code", ["1;", "1 ; # c", "(1,\n 2) ;", "1 \\\n;", "x = 2; x;"])
def test_a_semicolon_at_the_end_suppresses_the_echo(session: Snippets, code: str) -> None:
    assert session.text(code) is None


def test_a_semicolon_in_a_comment_suppresses_nothing(session: Snippets) -> None:
    assert session.text("1  # one;") == "1"


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        ("x\n", "1"),
        ("max(\n  x,\n  2,\n)  # end\n\n# more\n", "2"),
        ("x;", None),
        ("y = 2", None),
        ("def f():\n    '''\nx\n    '''", None),
        ("s = '''\nx\n'''", None),
        ("x = [\n1,\n]", None),
    ],
)
def test_long_source_echoes_like_short_source(
    session: Snippets, tail: str, text: str | None
) -> None:
    assert session.text(LONG + tail) == text


def test_long_source_keeps_its_line_numbers(session: Snippets) -> None:
    lines = LONG.count("\n")
    assert f'File "<snippet 1>", line {lines + 2}, in' in session.traceback(LONG + "\n1/0")


def test_the_last_echo_is_the_builtin_underscore(session: Snippets) -> None:
    session.run("20 + 1")
    session.run("None")
    assert session.text("_ * 2") == "42"
    assert "_" not in session.runner.namespace


def test_a_repr_that_raises_becomes_one_line_and_the_snippet_completes(session: Snippets) -> None:
    code = "class Foo:\n    def __repr__(self): raise ValueError('x\\ny')\nFoo()"
    assert session.text(code) == "<repr of Foo failed: ValueError: x y>"


def test_a_repr_that_floods_is_cut_in_the_middle(session: Snippets) -> None:
    text = session.text("'a' * 1_000_000 + 'b'")
    assert text is not None
    assert text.startswith("'aaa")
    assert text.endswith("aab'")
    assert "\n... [800003 characters left out] ...\n" in text
    assert len(text) < 200_100


def test_a_repr_of_a_type_that_pretends_to_be_short_is_cut_all_the_same(session: Snippets) -> None:
    text = session.text(
        "class S(str):\n"
        "    def __len__(self): return 1\n"
        "class Foo:\n"
        "    def __repr__(self): return S('a' * 1_000_000)\n"
        "Foo()"
    )
    assert type(text) is str
    assert len(text) < 200_100


def test_an_exit_in_a_repr_is_an_exit(session: Snippets) -> None:
    ending = session.run("class Foo:\n    def __repr__(self): raise SystemExit(3)\nFoo()")
    assert (ending.ended, ending.error_type, ending.error_message) == ("raised", "SystemExit", "3")


CONSTANTS = st.sampled_from(["'a'", "None", "True", "2.5", "'é\\ud800'"])
EXPRESSIONS = st.recursive(
    st.integers(-1000, 1000).map(str) | CONSTANTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} if {pair[0]} else {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"{{'k': {pair[0]}, 'l': {pair[1]}}}"),
        inner.map(lambda item: f"repr({item})"),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(code=EXPRESSIONS)
def test_any_expression_echoes_what_eval_gives(code: str) -> None:
    value = eval(code)
    with snippets() as session:
        assert session.text(f"z = 0\n{code}") == (None if value is None else repr(value))


# No letter but x, no way to call anything: whatever this spells is harmless.
@given(code=st.text(alphabet="x1+-()[]{}'\"\\\n\r\t ;:#=,.\0\ud800\ufeffé@", max_size=60))
def test_any_text_as_code_ends_in_a_message_that_the_host_accepts(code: str) -> None:
    with snippets() as session:
        ending = session.run(code)
    done = Done(nonce="n", in_place="", **ending._asdict())
    (frame,) = FrameReader(TO_HOST_CAP_BYTES).feed(pack(done))
    assert unpack("from_guest", frame) == done
    assert ending.ended in ("completed", "raised")
    assert (ending.ended == "raised") == bool(ending.error_type)


# ---- the module ---------------------------------------------------------------------------------


def test_variables_and_imports_persist(session: Snippets) -> None:
    session.run("import math\ndef area(r): return math.pi * r**2")
    assert session.text("round(area(2), 3)") == "12.566"


def test_the_snippet_is_the_main_module(session: Snippets) -> None:
    assert session.text("__name__") == "'__main__'"
    assert session.text("import __main__\n__main__.__dict__ is globals()") == "True"


def test_classes_of_a_snippet_pickle(session: Snippets) -> None:
    session.run("import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    a: int")
    assert session.text("pickle.loads(pickle.dumps(P(3)))") == "P(a=3)"


def test_source_of_functions_and_classes_is_found_in_later_snippets(session: Snippets) -> None:
    session.run("x = 1\ndef f(a):\n    return a + 1")
    session.run("class Plain:\n    one = 1\n\nclass WithMethods:\n    def go(self): pass\n")
    session.run("# class Plain is mentioned\nimport inspect, linecache\nlinecache.checkcache()")
    assert session.text("print(inspect.getsource(f), end='') or inspect.getsource(f)") == repr(
        "def f(a):\n    return a + 1\n"
    )
    assert session.text("inspect.getsource(Plain)") == repr("class Plain:\n    one = 1\n")
    assert session.text("inspect.getsource(WithMethods)") == repr(
        "class WithMethods:\n    def go(self): pass\n"
    )


def test_doctests_of_a_snippet_run(session: Snippets) -> None:
    code = 'def f(x):\n    """\n    >>> f(2)\n    4\n    """\n    return 2 * x\n'
    assert session.text(f"import doctest\n{code}doctest.testmod()") == (
        "TestResults(failed=0, attempted=1)"
    )


def test_future_statements_stay_in_force(session: Snippets) -> None:
    assert session.run("def before(a: nope): pass").error_type == "NameError"
    session.run("from __future__ import annotations")
    session.run("def after(a: nope): pass")
    assert session.text("after.__annotations__") == "{'a': 'nope'}"


def test_old_source_is_dropped_when_there_is_much_of_it(session: Snippets) -> None:
    import linecache

    session.run("x = 1")
    for _ in range(4):
        session.run("#" * 9_000_000)
    kept = [file for file in linecache.cache if file.startswith("<snippet ")]
    assert kept == ["<snippet 3>", "<snippet 4>", "<snippet 5>"]


# ---- restricted ---------------------------------------------------------------------------------


def test_the_restricted_level_refuses_before_anything_runs() -> None:
    with snippets("restricted") as session:
        ending = session.run("x = 1\ny = x.__class__.__bases__")
        assert (ending.ended, ending.refused_line) == ("refused", 2)
        assert "__bases__" in ending.error_message
        assert ending.names == []
        assert "x" not in session.runner.namespace


def test_the_restricted_level_echoes_displays_and_raises() -> None:
    with snippets("restricted") as session:
        assert session.text("x = [1]\nx[0] += 4\nx") == "[5]"
        assert session.text("_") == "[5]"
        assert session.text("x;") is None
        session.run("display(x)")
        assert session.bundles == [{"text/plain": "[5]"}]
        assert session.run("1/0").error_type == "ZeroDivisionError"


# ---- exits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["exit()", "quit(0)", "import sys; sys.exit(None)", "exit(False)"])
def test_an_exit_with_success_completes(session: Snippets, code: str) -> None:
    assert session.run(code).ended == "completed"
    assert session.text("1") == "1"


@pytest.mark.parametrize(("code", "message"), [("exit(3)", "3"), ("exit('no')", "no")])
def test_an_exit_with_failure_raises(session: Snippets, code: str, message: str) -> None:
    ending = session.run(code)
    assert (ending.ended, ending.error_type, ending.error_message) == (
        "raised",
        "SystemExit",
        message,
    )


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "GeneratorExit", "BaseException"])
def test_any_exception_is_captured(session: Snippets, kind: str) -> None:
    ending = session.run(f"raise {kind}('why')")
    assert (ending.ended, ending.error_type, ending.error_message) == ("raised", kind, "why")


class _Ended(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("code", "status"), [("", 0), ("exit(7)", 7), ("exit()", 0), ("exit('no')", 1), ("1/0", 1)]
)
def test_a_forked_child_that_runs_off_its_snippet_ends_as_a_script_does(
    session: Snippets,
    code: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(status: int) -> None:
        raise _Ended(status)

    monkeypatch.setattr(os, "_exit", end)
    real = os.getpid()
    # From here on the snippet is in the child.
    session.runner.namespace["become"] = lambda: monkeypatch.setattr(os, "getpid", lambda: real + 1)
    with pytest.raises(_Ended) as ended:
        session.run(f"become()\ndisplay('from the child')\n{code}")
    assert ended.value.args == (status,)
    written = capsys.readouterr()
    assert written.out == "'from the child'\n"
    assert session.bundles == []
    assert ("Traceback" in written.err) == (code == "1/0")
    assert (written.err == "no\n") == (code == "exit('no')")


# ---- what a snippet leaves behind ---------------------------------------------------------------


def test_an_interrupt_in_a_repr_ends_the_snippet(session: Snippets) -> None:
    ending = session.run(
        "import signal\nclass Foo:\n"
        "    def __repr__(self):\n        signal.raise_signal(signal.SIGINT)\n        return ''\n"
        "Foo()"
    )
    assert (ending.ended, ending.error_type, ending.text) == ("raised", "KeyboardInterrupt", None)


def test_an_interrupt_while_the_error_is_described_still_gives_an_ending(
    session: Snippets,
) -> None:
    ending = session.run(
        "import signal\nclass Foo(Exception):\n"
        "    def __str__(self): signal.raise_signal(signal.SIGINT)\n"
        "raise Foo"
    )
    assert (ending.ended, ending.error_type) == ("raised", "KeyboardInterrupt")
    assert [row[1] for row in ending.names] == ["signal", "Foo"]


def test_an_import_that_was_interrupted_can_be_made_again(
    session: Snippets, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("packages")
    package = root / "half_imported"
    package.mkdir()
    (package / "part.py").write_text("value = 5\n")
    (package / "__init__.py").write_text(
        "from .part import *\nimport builtins\nbuiltins.stop()\nvalue = part.value\n"
    )
    monkeypatch.syspath_prepend(str(root))

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(builtins, "stop", stop, raising=False)
    assert session.run("import half_imported").error_type == "KeyboardInterrupt"
    monkeypatch.setattr(builtins, "stop", lambda: None)
    assert session.text("import half_imported; half_imported.value") == "5"


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    b = Big(); note(b); 1/0\nf()",
        "import asyncio\nasync def f():\n    b = Big(); note(b); 1/0\nawait f()",
        "b = Big(); note(b); del b",
        "b = Big(); note(b); b = None",
    ],
)
def test_what_a_snippet_drops_is_freed_without_the_collector(session: Snippets, code: str) -> None:
    class Big:
        pass

    seen: list[weakref.ref[Big]] = []
    session.runner.namespace["Big"] = Big
    session.runner.namespace["note"] = lambda value: seen.append(weakref.ref(value))
    gc.disable()
    try:
        session.run("import asyncio\nawait asyncio.sleep(0)")
        session.run(code)
        assert seen[0]() is None
    finally:
        gc.enable()


def test_a_low_recursion_limit_is_the_snippets_own(session: Snippets) -> None:
    own = sys.getrecursionlimit()
    depth = len(_frames()) + 60
    ending = session.run(f"import sys\nsys.setrecursionlimit({depth})\ndef f(): f()\nf()")
    assert ending.error_type == "RecursionError"
    assert "in f\n" in ending.error_traceback
    assert sys.getrecursionlimit() == own
    assert session.text("sys.getrecursionlimit()") == str(depth)
    session.run(f"sys.setrecursionlimit({own})")


def _frames() -> list[object]:
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def test_a_tracer_ends_with_its_snippet(session: Snippets) -> None:
    before = sys.gettrace(), sys.getprofile()
    session.run("import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)")
    assert (sys.gettrace(), sys.getprofile()) == before


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (" x = 1\nx + 1", "2"),
        ("\n    x = 20\n    if x:\n        x += 1\n    x", "21"),
        ("  # a comment first\n  'a\\n  b'", "'a\\n  b'"),
        ("\tlen('''\n\tab''')", "3"),
    ],
)
def test_an_indented_first_line_sets_the_margin_as_in_a_notebook(
    session: Snippets, code: str, text: str
) -> None:
    assert session.run(code).text == text
