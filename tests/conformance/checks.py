"""What any session must do, in small named checks: a face is conformant that passes them.

A check is a function of a `Subject`. Those that a face has no calls for are in its `lacks`, each
with the reason; see `subjects.py`.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from sandbox import (
    CheckpointDropped,
    FileIsDirectory,
    FileNotPermitted,
    FileNotThere,
    Limits,
    PolicyError,
    SessionClosed,
    ValueNotCarried,
)


class Subject(Protocol):
    """A session as a check calls it: the names, arguments and errors of `sandbox.Session`."""

    is_live: bool

    def run(self, code: str, **more: Any) -> Any:
        """Run a snippet; its outcome."""
        ...

    def __getattr__(self, name: str) -> Any:
        """Any other call."""
        ...


Check = Callable[[Subject], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Put a function on the list, by its name."""
    CHECKS[function.__name__] = function
    return function


# ---- runs ---------------------------------------------------------------------------------------


@check
def keeps_variables_from_run_to_run(session: Subject) -> None:
    assert session.run("import math; x = math.floor(41.5)").status == "completed"
    assert session.run("x + 1").text == "42"


@check
def echoes_the_last_value_and_only_an_expression(session: Subject) -> None:
    assert session.run("'a'\n'b'").text == "'b'"
    assert session.run("y = 1").text is None


@check
def tells_the_streams_apart(session: Subject) -> None:
    outcome = session.run("import sys; print('out'); print('err', file=sys.stderr)")
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")


@check
def tells_an_exception_with_its_line(session: Subject) -> None:
    outcome = session.run("a = 1\na / 0")
    assert (outcome.status, outcome.error.type) == ("raised", "ZeroDivisionError")
    assert "line 2" in outcome.error.traceback
    assert session.run("a").text == "1"


@check
def ends_what_takes_too_long_and_goes_on(session: Subject) -> None:
    session.run("kept = 7")
    outcome = session.run("while True: pass", limits=Limits(wall_s=0.3))
    assert (outcome.status, outcome.limit, outcome.allowed) == ("limit_exceeded", "wall_s", 0.3)
    assert session.run("kept").text == "7"


@check
def survives_a_kill_with_its_variables(session: Subject) -> None:
    session.run("kept = [1]")
    outcome = session.run("import os; kept.append(2); os.kill(os.getpid(), 9)")
    assert (outcome.status, outcome.signal, outcome.state) == ("died", "SIGKILL", "rolled_back")
    assert session.run("kept").text == "[1]"
    assert session.is_live is True


@check
def reads_stdin(session: Subject) -> None:
    assert session.run("input() + input()", stdin="a\nb\n").text == "'ab'"


@check
def carries_any_character(session: Subject) -> None:
    outcome = session.run("print('\\u00e9\\U0001f600\\x00')")
    assert outcome.stdout == "\u00e9\U0001f600\x00\n"


@check
def streams_events_with_the_outcome_last(session: Subject) -> None:
    events = list(session.stream("print('a')\nopen('made.txt', 'w').write('z')"))
    names = [type(event).__name__ for event in events]
    assert names == ["Started", "Stdout", "ArtifactMade", "Finished"]
    assert events[1].text == "a\n"
    assert events[2].artifact.path == "made.txt"
    assert events[3].outcome.text == "1"


@check
def shows_displays_by_their_types(session: Subject) -> None:
    code = "class T:\n    def _repr_html_(self): return '<b>t</b>'\nT()"
    assert [one.get("text/html") for one in session.run(code).displays] == ["<b>t</b>"]


@check
def refuses_limits_above_its_own(session: Subject) -> None:
    with pytest.raises(PolicyError, match="memory_bytes"):
        session.run("1", limits=Limits(memory_bytes=2**45))
    assert session.run("2").text == "2"


# ---- files --------------------------------------------------------------------------------------


@check
def takes_files_in_and_gives_them_out(session: Subject) -> None:
    session.put("in/a.csv", b"1\n2\n")
    session.put("text.txt", "\u00e9")
    assert session.run("open('in/a.csv').read() == '1\\n2\\n'").text == "True"
    session.run("open('out.bin', 'wb').write(bytes(range(256)))")
    assert session.get("out.bin") == bytes(range(256))
    assert session.files() == ["in/a.csv", "out.bin", "text.txt"]


@check
def tells_why_a_file_is_refused(session: Subject) -> None:
    session.mkdir("folder")
    for path, error in (
        ("none", FileNotThere),
        ("folder", FileIsDirectory),
        ("/etc/passwd", FileNotPermitted),
    ):
        with pytest.raises(error) as seen:
            session.get(path)
        assert seen.value.path == path


@check
def reaches_files_outside_of_its_workspace(session: Subject) -> None:
    session.put("/tmp/a b?#%.txt", b"odd name")
    assert session.run("open('/tmp/a b?#%.txt').read() == 'odd name'").text == "True"
    assert "/tmp/a b?#%.txt" in session.files("/tmp")


@check
def lists_looks_and_removes(session: Subject) -> None:
    session.put("d/one", b"12345")
    [found] = session.list_directory("d")
    assert (found.path, found.kind, found.size_bytes) == ("d/one", "file", 5)
    assert session.stat("d").kind == "directory"
    session.mkdir("d/sub")
    session.remove("d/sub", recursive=True)
    assert [one.path for one in session.list_directory("d")] == ["d/one"]
    session.remove("d/one")
    assert session.list_directory("d") == []


@check
def streams_long_files_both_ways(session: Subject) -> None:
    piece = bytes(range(256)) * 1024
    session.put("long", (piece for _ in range(12)))
    got = list(session.get_stream("long", chunk_bytes=100_000))
    assert max(map(len, got)) <= 100_000
    assert b"".join(got) == piece * 12


# ---- commands and values ------------------------------------------------------------------------


@check
def runs_commands_beside_the_interpreter(session: Subject) -> None:
    session.put("data.csv", b"a\nb\n")
    done = session.exec("wc -l < data.csv")
    assert (done.exit_code, done.text.strip()) == (0, "2")
    done = session.exec(["sh", "-c", "cat; printf '\\377' >&2; exit 3"], stdin=b"\xffin")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"\xffin", b"\xff")


@check
def gives_commands_their_directory_and_variables(session: Subject) -> None:
    session.mkdir("sub")
    done = session.exec(["sh", "-c", "basename $PWD; echo $A"], cwd="sub", env={"A": "1"})
    assert done.text == "sub\n1\n"


@check
def ends_a_command_that_takes_too_long(session: Subject) -> None:
    done = session.exec(["sleep", "60"], timeout_s=0.3)
    assert (done.timed_out, done.exit_code, done.signal) == (True, None, "SIGKILL")
    assert session.run("1").text == "1"


@check
def streams_what_a_command_writes(session: Subject) -> None:
    program = "printf a; read line; printf $line >&2; exit 4"
    seen = list(session.exec_stream(["sh", "-c", program], stdin=b"b\n"))
    told = {type(event).__name__: event for event in seen}
    assert type(seen[-1]).__name__ == "ExecFinished"
    assert (told["Stdout"].data, told["Stderr"].data) == (b"a", b"b")
    assert told["ExecFinished"].result.exit_code == 4


@check
def talks_with_a_program(session: Subject) -> None:
    process = session.popen(["cat"], env={"A": "1"})
    process.write(b"one\xff")
    event = process.read_event()
    assert (type(event).__name__, event.data) == ("Stdout", b"one\xff")
    assert process.is_running is True
    process.write("two")
    assert process.read_event().data == b"two"
    process.close_stdin()
    assert process.wait().exit_code == 0
    assert type(process.read_event()).__name__ == "ExecFinished"
    assert (process.read_event(), process.is_running) == (None, False)
    with pytest.raises(BrokenPipeError):
        process.write(b"more")


@check
def kills_a_program_by_a_signal(session: Subject) -> None:
    process = session.popen("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.read_event().text == "ready\n"
    process.kill("SIGTERM", tree=False)
    assert process.wait().exit_code == 7
    process = session.popen(["sleep", "60"])
    process.kill()
    assert process.wait().signal == "SIGKILL"


@check
def refuses_a_program_that_is_none(session: Subject) -> None:
    for call in (session.exec, session.popen):
        with pytest.raises(PolicyError, match="command"):
            call([])
    assert session.exec(["no-such-program"]).exit_code == 127


@check
def carries_values_in_and_out(session: Subject) -> None:
    session.set(n=3, rows=[{"a": 1.5, "b": None}], raw=b"\x00\xff")
    assert session.run("n, rows, raw").text == "(3, [{'a': 1.5, 'b': None}], b'\\x00\\xff')"
    session.run("n += 1")
    assert (session.get_value("n"), session.get_value("raw")) == (4, b"\x00\xff")
    assert session.get_value("rows") == [{"a": 1.5, "b": None}]
    with pytest.raises(ValueNotCarried) as seen:
        session.get_value("absent")
    assert seen.value.name == "absent"
    with pytest.raises(ValueNotCarried):
        session.set(odd=object())


@check
def carries_arrays_and_tables(session: Subject) -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[5, 6])
    session.set(array=numpy.arange(6).reshape(2, 3), frame=frame, big="x" * 2_000_000)
    assert session.run("int(array.sum()), frame.shape, len(big)").text == "(15, (2, 2), 2000000)"
    session.run("array = array * 2; column = frame['a']")
    assert session.get_value("array").tolist() == [[0, 2, 4], [6, 8, 10]]
    pandas.testing.assert_frame_equal(session.get_value("frame"), frame)
    assert session.get_value("column").tolist() == [1, 2]
    session.set(odd=[float("inf"), float("nan")])
    assert session.run("odd").text == "[inf, nan]"
    assert session.get_value("odd")[0] == float("inf")


@check
def completes_and_judges_code(session: Subject) -> None:
    session.run("import math")
    found = session.complete("math.flo", 8)
    assert tuple(found.matches) == ("floor",)
    assert session.complete("math.flo  ", 8)[1:] == (5, 8)
    assert session.complete("absent.flo")[1:] == (7, 10)
    assert not session.complete("absent.flo").matches
    assert [session.is_complete(code) for code in ("x", "for x in y:", "x y")] == [
        "complete",
        "incomplete",
        "invalid",
    ]


@check
def answers_what_a_name_is(session: Subject) -> None:
    session.run("def f(a, b=2):\n    'Adds.'")
    found = session.inspect("f")
    assert (found.type, found.signature, found.docstring) == ("function", "(a, b=2)", "Adds.")
    with pytest.raises(ValueNotCarried):
        session.inspect("absent")


@check
def says_what_code_would_need_and_what_it_is_itself(session: Subject) -> None:
    checked = session.check("import json\nimport socket")
    assert [row[0] for row in checked.imports] == ["json", "socket"]
    assert session.check("x y").syntax_error != ""
    found = session.describe()
    assert found.version.startswith("3.")
    assert found.limits.wall_s == 30
    assert "seccomp" in found.layers
    assert "pydantic" in found.packages


@check
def lists_its_variables(session: Subject) -> None:
    session.run("import os; words = ['a', 'b']; _own = 1")
    [found] = session.variables()
    assert (found.name, found.type, found.shape) == ("words", "list", (2,))


# ---- branches -----------------------------------------------------------------------------------


@check
def rolls_back_to_a_checkpoint(session: Subject) -> None:
    session.run("x = [1]")
    mark = session.checkpoint("before")
    session.run("x.append(2)")
    session.rollback(mark)
    assert session.run("x").text == "[1]"


@check
def lists_and_drops_checkpoints(session: Subject) -> None:
    mark = session.checkpoint("before")
    assert [one.checkpoint for one in session.checkpoints()] == [mark]
    assert mark.name == "before"
    session.drop(mark)
    assert session.checkpoints() == []


@check
def refuses_a_checkpoint_of_another_session(session: Subject) -> None:
    mark = session.checkpoint()
    branch = session.fork()
    try:
        with pytest.raises(CheckpointDropped):
            branch.rollback(mark)
        assert branch.run("3").text == "3"
    finally:
        branch.close()


@check
def forks_into_sessions_of_their_own(session: Subject) -> None:
    session.run("x = 1")
    session.put("f", b"f")
    branches = session.fork(2)
    try:
        for number, branch in enumerate(branches):
            branch.run(f"x += {number + 1}")
        assert [branch.run("x").text for branch in branches] == ["2", "3"]
        assert (session.run("x").text, branches[0].get("f")) == ("1", b"f")
    finally:
        for branch in branches:
            branch.close()


@check
def tries_code_and_takes_it_back(session: Subject) -> None:
    session.run("x = 1")
    outcome = session.try_run("x = 2; 1 / 0")
    assert (outcome.status, outcome.state) == ("raised", "rolled_back")
    assert session.run("x").text == "1"


@check
def goes_on_as_the_best_of_several(session: Subject) -> None:
    session.run("x = 0")
    found = session.best_of(["x = 1; x", "x = 5; x", "1 / 0"], key=lambda one: int(one.text))
    assert (found.winner, found.outcomes[2].status) == (1, "raised")
    assert session.run("x").text == "5"


# ---- the end ------------------------------------------------------------------------------------


@check
def lives_as_long_as_it_is_extended(session: Subject) -> None:
    found: list[Any] = [session.expires_at]
    for ttl_s in (60, 600):
        session.extend(ttl_s)
        found.append(session.expires_at - time.time())
    assert found[0] is None
    assert 0 < found[1] <= 60
    assert found[2] > 500
    assert session.run("6").text == "6"


@check
def is_interrupted_from_outside(session: Subject) -> None:
    texts = []
    for event in session.stream("print('begun', flush=True)\nwhile True: pass"):
        if type(event).__name__ == "Stdout":
            session.interrupt()
        elif type(event).__name__ == "Finished":
            texts.append(event.outcome.error.type)
    assert texts == ["KeyboardInterrupt"]
    assert session.run("4").text == "4"


@check
def interrupts_what_is_left_early(session: Subject) -> None:
    for event in session.stream("print('begun', flush=True)\nwhile True: pass"):
        if type(event).__name__ == "Stdout":
            break
    assert session.run("5").text == "5"


@check
def tells_its_layers(session: Subject) -> None:
    assert "seccomp" in session.enforcement


@check
def is_closed_once_and_for_all(session: Subject) -> None:
    session.run("x = 1")
    assert session.is_live is True
    session.close()
    session.close()
    assert session.is_live is False
    for call in (lambda: session.run("x"), lambda: session.get("f"), lambda: session.exec("true")):
        with pytest.raises(SessionClosed):
            call()
