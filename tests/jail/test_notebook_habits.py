"""Habits of notebooks: each does what it does there, or says what to do instead."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox, Session
from sandbox.outcome import Raised
from tests.jail.corpus import Tier


@pytest.fixture(scope="module")
def box(tier: Tier) -> Iterator[Sandbox]:
    with Sandbox(Policy(tier=tier), pool_size=1) as opened:
        yield opened


HABITS = {  # snippets, the last of which gives what is printed and what is echoed
    "the last values": (["1 + 1", "_ * 10", "_, __, _1, Out[1]"], "", "(20, 2, 2, 2)"),
    "the third last": (["'a'", "'b'", "'c'", "___"], "", "'a'"),
    "a value is echoed, not stored, when it is None": (["7", "None", "_"], "", "7"),
    "a semicolon keeps no value": (["7", "8;", "_"], "", "7"),
    "sources": (["x = 1", "In[1], In[-1], len(In)"], "", "('x = 1', 'In[1], In[-1], len(In)', 3)"),
    "a variable of that name": (["_1 = 5", "2 + 2", "_1"], "", "5"),
    "gettext": (["import gettext; gettext.install('x')", "5", "_('word')"], "", "'word'"),
    "lines of a command": (
        ["files = !printf 'b 1\\na 2\\n'\nfiles.n, files.s, files.fields(0), files.grep('A')"],
        "",
        "('b 1\\na 2', 'b 1 a 2', ['b', 'a'], ['a 2'])",
    ),
    "the code of a command": (["!exit 3", "_exit_code"], "", "3"),
    "a loop over commands": (["for i in range(2):\n    !echo {i}"], "0\n1\n", None),
    "back to where one was": (["%cd /", "%cd -"], None, None),
    "a variable of the environment": (["%env FOO=bar", "%env FOO"], "", "'bar'"),
    "times": (
        ["r = %timeit -q -o -n 3 -r 2 1\nr.loops, r.repeat, len(r.all_runs)"],
        "",
        "(3, 2, 2)",
    ),
    "a cell's times": (["%%timeit -q -n 2 -r 1 a = 3\na + 1"], "", None),
    "captured": (
        ["%%capture out\nprint('x')\n5", "out.stdout, len(out.outputs)"],
        "",
        "('x\\n', 1)",
    ),
    "only stdout captured": (["%%capture --no-stdout out\nprint('x')"], "x\n", None),
    "shown again": (["%%capture out\nprint('x')", "out.show()"], "x\n", None),
    "a file with arguments": (
        ["%%writefile a.py\nimport sys\nprint(sys.argv[1:], __name__)", "%run a.py b 'c d'"],
        "['b', 'c d'] __main__\n",
        None,
    ),
    "a file that sees variables": (
        ["%%writefile a.py\nprint(x)\ny = x + 1", "x = 4\n%run -i a.py\ny"],
        "4\n",
        "5",
    ),
    "variables of a kind": (["a = 1; b = 's'", "%who_ls int"], "", "['a']"),
    "what was sent": (["a = 1", "%history -n 1"], "   1: a = 1\n", None),
    "a name that is none": (["nothing_here?"], "Object `nothing_here` not found.\n", None),
    "exported magics": (["get_ipython().run_line_magic('cd', '/')", "%pwd"], "", "'/'"),
    "exported commands": (["get_ipython().getoutput('echo 9')"], "", "['9']"),
    "exported cells": (["get_ipython().run_cell_magic('bash', '', 'echo 8')"], "8\n", None),
    "pylab": (["%pylab inline\npi, int(array([1]).sum())"], "", "(3.141592653589793, 1)"),
}
INSTEAD = {
    "%load a.py": "`%run FILE` runs it",
    "%conda install x": "`%pip list`",
    "%debug": "print values instead",
    "%store x": "goes into a file",
    "%sql select 1": "use sqlite3",
    "%%cython\nx": "use numba",
    "%precision 3": "f'{x:.3f}'",
    "%pushd /": "`%cd -`",
    "%never_heard_of": "write what it does in Python",
}


@pytest.mark.parametrize("name", HABITS)
def test_a_habit_does_what_it_does_in_a_notebook(session: Session, name: str) -> None:
    if name == "pylab":
        pytest.importorskip("matplotlib")
    snippets, printed, echoed = HABITS[name]
    for code in snippets[:-1]:
        assert session.run(code).status == "completed"
    outcome = session.run(snippets[-1])
    assert outcome.status == "completed", outcome
    if printed is not None:
        assert outcome.stdout == printed
    assert outcome.text == echoed


@pytest.mark.parametrize("magic", INSTEAD)
def test_a_magic_that_is_not_here_says_what_to_do(session: Session, magic: str) -> None:
    outcome = session.run(magic)
    assert isinstance(outcome, Raised)
    assert INSTEAD[magic] in outcome.error.message


def test_a_cell_of_a_shell_that_fails_raises(session: Session) -> None:
    outcome = session.run("%%bash\necho before\nexit 3")
    assert isinstance(outcome, Raised)
    assert (outcome.error.type, outcome.stdout) == ("CalledProcessError", "before\n")
    assert "exit status 3" in outcome.error.message


def test_what_is_captured_is_not_shown(session: Session) -> None:
    outcome = session.run("%%capture out\ndisplay({'text/html': '<b>1</b>'}, raw=True)")
    assert outcome.displays == ()
    [bundle] = session.run("out.show()").displays
    assert bundle["text/html"] == "<b>1</b>"


def test_libraries_find_no_shell(session: Session) -> None:
    code = (
        "import types\nlibrary = types.ModuleType('library')\n"
        "exec('def has_shell():\\n    try: return get_ipython()\\n"
        "    except NameError: return None', vars(library))\nlibrary.has_shell() is None"
    )
    assert session.run(code).text == "True"


def test_a_library_that_looks_for_a_shell_prints_as_without_one(session: Session) -> None:
    code = (
        "from rich.console import Console\nfrom rich.table import Table\n"
        "table = Table(title='T'); table.add_column('a'); table.add_row('1')\n"
        "Console(width=40).print(table)"
    )
    printed = "  T  \n┏━━━┓\n┃ a ┃\n┡━━━┩\n│ 1 │\n└───┘\n"
    assert session.run(code).stdout == printed
    session.run("get_ipython()")
    assert session.run(code).stdout == printed


def test_values_of_few_snippets_are_kept(session: Session) -> None:
    for number in range(20):
        session.run(f"{number}")
    assert session.run("sorted(Out)[0], len(Out), '_1' in dir(__builtins__)").text == (
        "(5, 16, False)"
    )


def test_where_there_is_no_notebook_there_is_one_last_value() -> None:
    with Sandbox(Policy(notebook=False), pool_size=0) as box, box.session() as session:
        session.run("1")
        session.run("2")
        assert session.run("_").text == "2"
        assert session.run("__").status == "raised"
        assert session.run("get_ipython()").status == "raised"
