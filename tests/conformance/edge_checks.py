"""What any session must do at the edges: odd arguments, odd ends; on the same list as `checks`."""

import asyncio
import datetime
import math
import time
from contextlib import suppress
from typing import Any

import pytest

from sandbox import (
    FileNotThere,
    FileRefused,
    HostTool,
    PolicyError,
    SessionClosed,
    ValueNotCarried,
)
from tests.conformance.checks import Subject, check

# ---- commands -----------------------------------------------------------------------------------


@check
def names_any_signal_that_ends_a_command(session: Subject) -> None:
    for number, name in ((15, "SIGTERM"), (34, "SIGRTMIN"), (40, "SIGRTMIN+6")):
        done = session.exec(f"kill -{number} $$")
        assert (done.exit_code, done.signal) == (None, name)
    outcome = session.run("import os; os.kill(os.getpid(), 41)")
    assert (outcome.status, outcome.signal) == ("died", "SIGRTMIN+7")
    process = session.popen(["sleep", "60"])
    for wrong in ("TERM", "SIGRTMIN+31", 0, 65, None, True):
        with pytest.raises(PolicyError, match="signal"):
            process.kill(wrong)
    process.kill("SIGRTMIN+3")
    assert process.wait().signal == "SIGRTMIN+3"


@check
def tells_how_a_command_ends_as_a_shell_does(session: Subject) -> None:
    session.put("plain.txt", b"no program")
    rows = ((["/tmp"], 126), (["./plain.txt"], 126), (["absent"], 127), ("sh -c 'kill -9 $$'", 137))
    for command, code in rows:
        assert session.exec(command).exit_code == code
    done = session.exec(["pwd"], cwd="absent")
    assert done.exit_code == 125
    assert b"cannot go to absent" in done.stderr


@check
def refuses_wrong_arguments_of_a_command(session: Subject) -> None:
    for field, arguments in (
        ("command", {"command": 3}),
        ("command", {"command": b"true"}),
        ("command", {"command": ["echo", b"a"]}),
        ("command", {"command": "a\0b"}),
        ("command", {"command": ["echo", "\ud800"]}),
        ("env", {"command": "true", "env": {"A": 1}}),
        ("env", {"command": "true", "env": {"A=B": "1"}}),
        ("cwd", {"command": "true", "cwd": 3}),
        ("timeout_s", {"command": "true", "timeout_s": "1"}),
        ("timeout_s", {"command": "true", "timeout_s": True}),
        ("timeout_s", {"command": "true", "timeout_s": math.nan}),
        ("timeout_s", {"command": "true", "timeout_s": 0}),
    ):
        for call in (session.exec, session.popen):
            with pytest.raises(PolicyError) as seen:
                call(**arguments)
            assert seen.value.field == field
    with pytest.raises(PolicyError, match="stdin"):
        session.exec("true", stdin=3)
    process = session.popen("cat")
    with pytest.raises(PolicyError, match="stdin"):
        process.write(3)
    process.kill()
    process.wait()
    assert session.exec("true", timeout_s=math.inf).exit_code == 0


@check
def passes_a_command_on_as_it_is(session: Subject) -> None:
    words = ["a b", "'", '"', "$HOME", "", "*", "\u00e9\U0001f600", "b\udcff"]
    done = session.exec(["printf", "%s|", *words])
    assert done.stdout == "|".join([*words, ""]).encode("utf-8", "surrogateescape")
    assert session.exec("echo \"a 'b'\" $((1+2)) `echo x`").text == "a 'b' 3 x\n"
    assert session.exec("wc -c", stdin=b"\0\xff" * 300_000).text.strip() == "600000"
    assert session.exec("true", stdin=b"x" * 300_000).exit_code == 0
    assert session.exec("cat").stdout == b""


@check
def keeps_programs_over_rollbacks_and_kills(session: Subject) -> None:
    process = session.popen(["cat"])
    mark = session.checkpoint()
    session.rollback(mark)
    session.run("import os; os.kill(os.getpid(), 9)")
    process.write("still")
    assert process.read_event().data == b"still"
    process.close_stdin()
    first, again = process.wait(), process.wait()
    assert (first.exit_code, again.exit_code) == (0, 0)
    process.kill()
    many = [session.popen(f"exit {number}") for number in range(8)]
    assert [one.wait().exit_code for one in many] == list(range(8))


@check
def ends_programs_with_their_session(session: Subject) -> None:
    process = session.popen(["sleep", "60"])
    session.close()
    with pytest.raises(SessionClosed):
        process.wait()
    with pytest.raises(BrokenPipeError):
        process.write(b"x")
    process.kill()
    assert (process.read_event(), process.is_running) == (None, False)


# ---- values -------------------------------------------------------------------------------------


@check
def refuses_values_and_names_that_cannot_travel(session: Subject) -> None:
    for value in ({1: 2}, {1, 2}, 1j, datetime.date(2020, 1, 1), [b"a"], 10**5000, len):
        with pytest.raises(ValueNotCarried) as seen:
            session.set(odd=value)
        assert seen.value.name == "odd"
    session.run("kept = 1; odd = object()")
    for name in ("odd", "absent", "a b", "", "1x"):
        with pytest.raises(ValueNotCarried) as seen:
            session.get_value(name)
        assert seen.value.name == name
    for wrong in (3, None, "x" * 5000):
        with pytest.raises(PolicyError, match="name"):
            session.get_value(wrong)
    for name in ("a b", "class", "", "1x"):
        with pytest.raises(ValueNotCarried):
            session.set(**{name: 1})
    assert session.run("kept").text == "1"


@check
def carries_plain_values_exactly(session: Subject) -> None:
    values: list[Any] = [
        None,
        True,
        -(2**70),
        1e-300,
        -math.inf,
        "\u00e9\0\ud800",
        "",
        [],
        {"": [{"a": None}]},
    ]
    session.set(v=values, raw=bytearray(b"\0a"))
    assert session.run("v, raw").text == f"({values!r}, b'\\x00a')"
    assert session.get_value("v") == values
    session.set(n=math.nan)
    assert math.isnan(session.get_value("n"))


@check
def carries_odd_arrays_and_tables_or_says_why_not(session: Subject) -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "c": pandas.Categorical(["a", "b"]),
            "d": pandas.to_datetime(["2020-01-01", None]).tz_localize("Europe/Berlin"),
            "n": pandas.array([1, None], dtype="Int64"),
            "t": pandas.to_timedelta([1, 2], unit="s"),
            "l": [[1], [2, 3]],
        }
    )
    session.set(frame=frame, when=numpy.array(["2020-01-01"], dtype="M8[ns]"), none=numpy.zeros(0))
    assert session.get_value("frame").dtypes.tolist() == frame.dtypes.tolist()
    assert session.get_value("frame")["n"].tolist() == [1, pandas.NA]
    assert session.get_value("when").dtype == "M8[ns]"
    assert session.get_value("none").shape == (0,)
    for odd in (
        numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array([object()]),
        numpy.ma.array([1, 2], mask=[False, True]),
        numpy.datetime64("2020-01-01T00:00:00", "ns"),
        pandas.DataFrame({"p": pandas.period_range("2020", periods=2, freq="M")}),
        pandas.DataFrame([[1]], columns=pandas.MultiIndex.from_tuples([("a", 1)])),
    ):
        with pytest.raises(ValueNotCarried):
            session.set(odd=odd)
    session.run("import numpy; odd = numpy.ma.array([1, 2], mask=[False, True])")
    with pytest.raises(ValueNotCarried, match="mask"):
        session.get_value("odd")


# ---- functions of the host ----------------------------------------------------------------------


@check
def tells_a_snippet_of_a_result_that_is_none(session: Subject) -> None:
    def number() -> int:
        return "x"  # type: ignore[return-value]

    def late() -> "int":
        return None  # type: ignore[return-value]

    def raw() -> bytes:
        return b"\xff"

    code = """
found = []
for call in (number, late, raw, thing):
    try:
        call()
    except TypeError as error:
        found.append(str(error).partition(':')[0])
found"""
    tools = {"number": number, "late": late, "raw": raw, "thing": lambda: object()}
    outcome = session.run(code, tools=tools)
    assert outcome.text == (
        "['number() returned what its hint is not', 'late() returned what its hint is not',"
        " 'raw() returned what JSON has not', 'thing() returned what JSON has not']"
    )


@check
def lets_exceptions_of_its_host_be_caught_by_their_types(session: Subject) -> None:
    kinds = [FileExistsError, EOFError, ImportError, NameError, Exception, UserWarning, OSError]
    other = [StopIteration, GeneratorExit, SystemExit, KeyboardInterrupt, MemoryError]

    def fail(number: int) -> None:
        raise [*kinds, *other][number]("why")

    code = f"""
found = []
for number in range({len(kinds) + len(other)}):
    try:
        fail(number)
    except BaseException as error:
        found.append((type(error).__name__, getattr(error, 'type', '')))
found"""
    outcome = session.run(code, tools={"fail": HostTool(fail, timeout_s=5)})
    assert outcome.text is not None, outcome
    seen = eval(outcome.text)
    assert seen[: len(kinds)] == [(kind.__name__, "") for kind in kinds]
    told = [name if name != "ToolError" else kind for name, kind in seen[len(kinds) :]]
    assert told == [kind.__name__ for kind in other]


@check
def gathers_more_calls_than_are_carried_out_at_once(session: Subject) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * n

    code = "import asyncio; sum(await asyncio.gather(*(double(n) for n in range(300))))"
    assert session.run(code, tools={"double": double}).text == str(2 * sum(range(300)))


@check
def refuses_a_function_that_an_earlier_snippet_was_given(session: Subject) -> None:
    session.run("kept = f", tools={"f": lambda: 1})
    outcome = session.run("kept()")
    assert (outcome.status, outcome.state) == ("raised", "kept")
    assert outcome.error.type == "RuntimeError"
    assert session.run("kept()", tools={"f": lambda: 2}).text == "2"


@check
def asks_for_approval_in_so_many_words(session: Subject) -> None:
    for answer in ("no", 1, None):
        tools = {"f": HostTool(lambda: 1, approve=lambda *_asked, answer=answer: answer)}
        outcome = session.run("f()", tools=tools)
        assert outcome.error.type == "PermissionError"
        assert "was not approved" in outcome.error.message
    tools = {"f": HostTool(lambda: 1, approve=lambda *_asked: 1 / 0)}
    assert session.run("f()", tools=tools).error.type == "ZeroDivisionError"
    for wrong in ({"timeout_s": "1"}, {"max_calls": 1.5}, {"approve": 3}, {"timeout_s": True}):
        with pytest.raises(PolicyError):
            HostTool(len_of, **wrong)


def len_of(text: str) -> int:
    """Measures a text."""
    return len(text)


@check
def lists_calls_that_its_end_cut_off(session: Subject) -> None:
    def slow(query: str) -> str:
        time.sleep(3)
        return query

    stopped = "import os, threading\nthreading.Timer(0.3, os._exit, (3,)).start()\nslow(query='x')"
    outcome = session.run(stopped, tools={"slow": slow})
    assert outcome.status == "died"
    [call] = outcome.tool_calls
    assert (call.name, call.arguments, call.error.type) == (
        "slow",
        {"query": "x"},
        "CancelledError",
    )


def _signature(session: Subject, tools: dict[str, Any]) -> str | None:
    found: str | None = session.run("import inspect; str(inspect.signature(f))", tools=tools).text
    return found


@check
def shows_defaults_that_json_has_not(session: Subject) -> None:
    def f(a: float = math.inf, b: object = datetime.date(2020, 1, 1), *, c: int = 1) -> float:
        return a + c

    assert _signature(session, {"f": f}) == "\"(a='inf', b='2020-01-01', *, c=1)\""
    assert session.run("f(1.5)", tools={"f": f}).text == "2.5"


# ---- files and questions ------------------------------------------------------------------------


@check
def refuses_wrong_arguments_of_any_call(session: Subject) -> None:
    for field, call, arguments, more in (
        ("code", "run", (b"1",), {}),
        ("code", "check", (3,), {}),
        ("code", "is_complete", (None,), {}),
        ("code", "complete", (3,), {}),
        ("cursor", "complete", ("x", "1"), {}),
        ("limits", "run", ("1",), {"limits": {"wall_s": 1}}),
        ("stdin", "run", ("1",), {"stdin": b"x"}),
        ("script", "run", ("1",), {"script": 3}),
        ("tools", "run", ("1",), {"tools": 3}),
        ("name", "inspect", (3,), {}),
        ("name", "checkpoint", (3,), {}),
        ("checkpoint", "rollback", (3,), {}),
        ("checkpoint", "drop", (None,), {}),
        ("n", "fork", ("2",), {}),
        ("n", "fork", (0,), {}),
        ("snippets", "best_of", ([],), {}),
        ("snippets", "best_of", ("ab",), {}),
        ("ttl_s", "extend", ("1",), {}),
        ("ttl_s", "extend", (math.nan,), {}),
        ("data", "put", ("f", 3), {}),
        ("data", "put", ("f", "\ud800"), {}),
        ("target", "get_to", ("f", "/tmp/x"), {}),
        ("packages", "install", ("humanize",), {}),
        ("packages[0]", "install", (["--index-url=x"],), {}),
    ):
        with pytest.raises(PolicyError) as seen:
            getattr(session, call)(*arguments, **more)
        assert (call, seen.value.field) == (call, field)
    for chunk_bytes in (0, "a", 1.5):
        with pytest.raises(PolicyError, match="chunk_bytes"):
            list(session.get_stream("f", chunk_bytes=chunk_bytes))
    assert session.run("1").text == "1"


@check
def names_files_by_any_characters_and_no_others(session: Subject) -> None:
    for name in ("a\nb", "-rf", "~/tilde", "sp ace?#%41", "\u00e9\U0001f600"):
        session.put(name, b"1")
        assert session.get(name) == b"1"
        assert session.stat(name).size_bytes == 1
        session.remove(name)
        with pytest.raises(FileNotThere):
            session.get(name)
    for wrong in ("", 3, None, "a\0b", "\ud800"):
        for call in (session.get, session.stat, session.mkdir, session.remove):
            with pytest.raises(FileRefused):
                call(wrong)
        with pytest.raises(FileRefused):
            session.put(wrong, b"1")
    assert session.is_live is True


@check
def answers_about_objects_that_end_the_interpreter(session: Subject) -> None:
    session.run(
        "kept = 1\n"
        "class Bad:\n"
        "    def __repr__(self): raise SystemExit('out')\n"
        "    def __dir__(self): raise KeyboardInterrupt\n"
        "    @property\n"
        "    def __doc__(self): raise SystemExit\n"
        "bad = Bad()"
    )
    assert {"bad", "kept"} <= {found.name for found in session.variables()}
    with suppress(ValueNotCarried):
        session.inspect("bad")
    with suppress(ValueNotCarried):
        session.complete("bad.")
    with pytest.raises(ValueNotCarried):
        session.get_value("bad")
    assert session.run("kept").text == "1"
