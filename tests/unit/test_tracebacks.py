"""What a snippet's exception looks like: its own frames, bounded, whatever the exception does."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.guest.display import tracebacks
from tests.unit.snippets import Snippets, snippets

WIDE_CARETS = sys.version_info >= (3, 13)
"""From 3.13 a caret without an end goes to the end of the line, and plain calls have carets."""
ENGINE = str(Path(tracebacks.__file__).parents[1])


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made


# ---- source that does not compile ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (
            "x = (1 +\n",
            "SyntaxError",
            "    x = (1 +\n        ^\nSyntaxError: '(' was never closed\n",
        ),
        (
            "return 5",
            "SyntaxError",
            "    return 5\n    ^^^^^^^^\nSyntaxError: 'return' outside function\n",
        ),
        (
            "'a\0b'",
            "SyntaxError",
            f"    'a\\x00b'\n      {'^^^^^^' if WIDE_CARETS else '^'}\n"
            "SyntaxError: source cannot contain null bytes\n",
        ),
        (
            "'é\ud800'",
            "SyntaxError",
            f"    'é\\ud800'\n      {'^^^^^^^' if WIDE_CARETS else '^'}\n"
            "SyntaxError: source holds a lone surrogate\n",
        ),
    ],
)
def test_a_syntax_error_shows_the_line_and_the_caret(
    session: Snippets, code: str, kind: str, text: str
) -> None:
    ending = session.run(code)
    assert (ending.ended, ending.error_type) == ("raised", kind)
    assert ending.error_traceback == f'  File "<snippet 1>", line 1\n{text}'


def test_a_syntax_error_names_the_right_line(session: Snippets) -> None:
    text = session.traceback("a = 1\nif a:\nb = 2")
    assert text.startswith('  File "<snippet 1>", line 3\n    b = 2\n    ^\nIndentationError: ')
    assert "line 2\n    '\\ud800'" in session.traceback("a = 1\n'\ud800'")


def test_nothing_of_a_source_that_does_not_compile_runs(session: Snippets) -> None:
    session.run("a = 1\n1 +")
    assert "a" not in session.runner.namespace


def test_source_that_is_nested_too_deeply_is_an_error_of_the_snippet(session: Snippets) -> None:
    assert session.run("(" * 1000 + ")" * 1000).error_type == "SyntaxError"
    ending = session.run("-" * 100_000 + "1")
    assert ending.error_type in ("MemoryError", "RecursionError")
    assert ending.error_traceback == f"{ending.error_type}: {ending.error_message}\n"
    assert session.text("1") == "1"


def test_source_that_is_too_deep_for_a_tree_still_runs(session: Snippets) -> None:
    assert session.text("+".join(["1"] * 2000)) == "2000"


# ---- frames -------------------------------------------------------------------------------------


def test_a_traceback_is_what_the_interpreter_shows_for_a_script(session: Snippets) -> None:
    assert session.traceback("def f(n):\n    return 1 / n\n\nf(0)") == (
        "Traceback (most recent call last):\n"
        '  File "<snippet 1>", line 4, in <module>\n'
        "    f(0)\n"
        + ("    ~^^^\n" if WIDE_CARETS else "")
        + '  File "<snippet 1>", line 2, in f\n'
        "    return 1 / n\n"
        "           ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_functions_of_earlier_snippets_show_their_source(session: Snippets) -> None:
    session.run("def f():\n    raise ValueError('early')")
    session.run("import linecache\nlinecache.clearcache()")
    text = session.traceback("f()")
    assert "  File \"<snippet 1>\", line 2, in f\n    raise ValueError('early')\n" in text


def test_frames_of_libraries_are_kept(session: Snippets) -> None:
    text = session.traceback("import json\njson.loads('{')")
    assert f'File "{json.decoder.__file__}"' in text
    assert text.endswith(
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes:"
        " line 1 column 2 (char 1)\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import no_such_module",
        "display(1, raw=True)",
        "import asyncio\nawait asyncio.sleep('x')",
        "try:\n    display(1, raw=True)\nexcept TypeError as e:\n    raise ValueError from e",
        "try: display(1, raw=True)\nexcept TypeError as e: raise ExceptionGroup('g', [e])",
        "class Foo:\n    def __repr__(self): raise SystemExit(1)\nFoo()",
    ],
)
def test_no_frame_of_the_engine_or_the_import_machinery_is_shown(
    session: Snippets, code: str
) -> None:
    text = session.traceback(code)
    assert 'File "<snippet 1>"' in text
    assert ENGINE not in text
    assert "importlib._bootstrap" not in text


def test_endless_recursion_is_folded(session: Snippets) -> None:
    text = session.traceback("def f(): f()\nf()")
    assert text.count("in f\n") == 3
    assert "  [Previous line repeated " in text
    assert text.endswith("RecursionError: maximum recursion depth exceeded\n")


def test_recursion_of_several_functions_is_cut_in_the_middle(session: Snippets) -> None:
    text = session.traceback("def a(): b()\ndef b(): a()\na()")
    assert text.count('File "<snippet 1>"') == tracebacks.HEAD_FRAMES + tracebacks.TAIL_FRAMES
    assert text.count(" frames left out]\n") == 1


def test_a_very_deep_stack_is_read_from_its_end(session: Snippets) -> None:
    own = sys.getrecursionlimit()
    session.run("import sys\nsys.setrecursionlimit(6000)")
    text = session.traceback("def f(n):\n    if n == 0: 1 / 0\n    f(n - 1)\nf(4000)")
    session.run(f"sys.setrecursionlimit({own})")
    assert text.startswith("Traceback (most recent call last):\n  [2002 frames left out]\n")
    assert text.endswith("ZeroDivisionError: division by zero\n")


# ---- chains and groups --------------------------------------------------------------------------


def test_causes_and_contexts_are_shown(session: Snippets) -> None:
    code = "try:\n    1/0\nexcept Exception as e:\n    raise ValueError('bad') from e"
    text = session.traceback(code)
    assert "ZeroDivisionError: division by zero\n\nThe above exception was the direct cause" in text
    text = session.traceback("try:\n    1/0\nexcept Exception:\n    undefined")
    assert "\nDuring handling of the above exception, another exception occurred:\n" in text


def test_a_long_chain_is_cut_and_left_as_it_was(session: Snippets) -> None:
    text = session.traceback(
        "def chain(n):\n"
        "    try:\n"
        "        if n: chain(n - 1)\n"
        "        else: 1/0\n"
        "    except Exception as e:\n"
        "        raise ValueError(n) from e\n"
        "try:\n    chain(99)\nexcept ValueError as e:\n    kept = e\nraise kept"
    )
    assert text.count("Traceback (most recent call last)") == tracebacks.CHAIN_CAP
    depth = "n, e = 0, kept\nwhile e.__cause__:\n    n, e = n + 1, e.__cause__\nn"
    assert session.text(depth) == "100"


def test_a_group_shows_its_exceptions(session: Snippets) -> None:
    ending = session.run("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")
    assert ending.error_message == "g (2 sub-exceptions)"
    assert ending.error_traceback.startswith("  + Exception Group Traceback (most recent call")
    assert "    | ValueError: 1\n    +---------------- 2 ----------------\n" in (
        ending.error_traceback
    )


# ---- exceptions that misbehave ------------------------------------------------------------------


def test_a_str_that_raises_is_named(session: Snippets) -> None:
    ending = session.run("class E(Exception):\n    def __str__(self): return self.no\nraise E")
    assert (ending.error_type, ending.error_message) == (
        "E",
        "<str of the exception failed: AttributeError>",
    )
    assert ending.error_traceback.endswith("E: <exception str() failed>\n")


def test_a_long_message_and_a_long_line_are_cut(session: Snippets) -> None:
    ending = session.run(f"x = '{'é' * 300_000}'; raise ValueError('a' * 3_000_000)")
    assert len(ending.error_message) < tracebacks.MESSAGE_CAP + 100
    assert len(ending.error_traceback) < 4 * tracebacks.LINE_CAP
    assert " ... [2996012 characters left out] ... " in ending.error_traceback


def test_many_lines_of_message_are_cut(session: Snippets) -> None:
    ending = session.run("raise ValueError('line\\n' * 1_000_000)")
    assert len(ending.error_traceback) < tracebacks.TRACEBACK_CAP + 100


def test_a_lone_surrogate_in_a_message_is_escaped(session: Snippets) -> None:
    ending = session.run("raise ValueError('\\ud800')")
    assert ending.error_message == "\\ud800"
    assert ending.error_traceback.endswith("ValueError: \\ud800\n")


def test_an_exception_that_breaks_the_formatter_still_has_its_places(session: Snippets) -> None:
    ending = session.run(
        "class E(Exception):\n"
        "    @property\n"
        "    def __notes__(self): raise ValueError\n"
        "raise E('m')"
    )
    if sys.version_info >= (3, 13):  # Its formatter tells of notes that cannot be read.
        assert ending.error_traceback == (
            "Traceback (most recent call last):\n"
            '  File "<snippet 1>", line 4, in <module>\n'
            "    raise E('m')\n"
            "E: m\n"
            "Ignored error getting __notes__: ValueError()\n"
        )
        return
    assert ending.error_traceback == (
        "[the traceback was not formatted: ValueError]\n"
        '  File "<snippet 1>", line 4, in <module>\n'
        "E: m\n"
    )


def test_the_class_is_named_without_asking_its_metaclass(session: Snippets) -> None:
    ending = session.run(
        "class Meta(type):\n"
        "    def __getattribute__(self, name): raise ValueError(name)\n"
        "class E(Exception, metaclass=Meta): pass\n"
        "raise E"
    )
    assert ending.error_type == "E"


def test_a_memory_error_gives_back_what_its_frames_held(session: Snippets) -> None:
    ending = session.run("x = [0] * 10**15")
    assert (ending.error_type, ending.error_message) == ("MemoryError", "")
    session.run("import weakref\nclass Big: pass")
    code = "def f():\n    big = Big(); refs.append(weakref.ref(big)); raise error\nf()"
    session.run(f"refs = []; error = MemoryError()\n{code}")
    assert session.text("refs[0]() is None") == "True"


@pytest.mark.parametrize(
    ("code", "errno"),
    [
        ("open('/no/such/file')", 2),
        ("raise OSError(17, 'x')", 17),
        ("raise OSError('x')", 0),
        ("raise OSError(10**9, 'x')", 0),
        ("e = OSError(); e.errno = 'x'; raise e", 0),
        ("e = ValueError(); e.errno = 5; raise e", 0),
        ("bytearray(1 << 62)", 12),
        ("def f(): return [0] * (1 << 60)\nf()", 12),
        ("try: bytearray(1 << 62)\nexcept MemoryError as e: kept = e\nraise kept", 12),
        ("raise MemoryError", 0),
        ("class Full(MemoryError): errno = 12\ndef f(): raise Full\nf()", 0),
    ],
)
def test_the_errno_of_an_os_error_is_reported(session: Snippets, code: str, errno: int) -> None:
    assert session.run(code).error_errno == errno
