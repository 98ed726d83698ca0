"""Functions of the host inside snippets: calls, checks, errors, limits, and a hostile caller."""

import asyncio
import time

import pytest

from sandbox import (
    AsyncSandbox,
    Completed,
    Died,
    HostTool,
    Limits,
    PolicyError,
    Raised,
    Sandbox,
    ToolError,
)


def search(query: str, limit: int = 3) -> list[dict[str, str]]:
    """Find documents about `query`."""
    return [{"title": f"{query} {number}"} for number in range(limit)]


async def fetch(number: int) -> int:
    await asyncio.sleep(0.2)
    return number * 10


@pytest.fixture(scope="module")
def box():
    with Sandbox() as made:
        yield made


@pytest.fixture
def session(box):
    with box.session() as made:
        yield made


def test_a_snippet_calls_a_function_of_the_host_and_the_outcome_lists_it(session):
    outcome = session.run("rows = search(query='x', limit=2)\nrows", tools={"search": search})
    assert outcome.text == "[{'title': 'x 0'}, {'title': 'x 1'}]"
    [call] = outcome.tool_calls
    assert (call.name, call.arguments, call.error) == ("search", {"query": "x", "limit": 2}, None)
    assert call.result == [{"title": "x 0"}, {"title": "x 1"}]
    assert 0 <= call.wall_s < 5


def test_signature_defaults_and_docstring_are_those_of_the_hosts_function(session):
    code = "import inspect\n(str(inspect.signature(search)), search.__doc__, len(search('a')))"
    assert session.run(code, tools={"search": search}).text == repr(
        ("(query, limit=3)", "Find documents about `query`.", 3)
    )


def test_what_the_host_offers_is_no_variable_of_the_session(session):
    session.run("mine = search('x')\ndef own(): pass", tools={"search": search})
    assert [variable.name for variable in session.variables()] == ["mine", "own"]


def test_a_function_is_there_for_its_snippet_alone_unless_the_session_has_it(box, session):
    session.run("search('x')", tools={"search": search})
    assert isinstance(session.run("search('x')"), Raised)
    with box.session(tools={"search": search}) as other:
        assert other.run("len(search('x'))").text == "3"
        assert other.run("len(search('x'))").text == "3"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("search(1)", "TypeError", "query: Input should be a valid string"),
        ("search()", "TypeError", "query: Missing required argument"),
        ("search('x', depth=2)", "TypeError", "Unexpected keyword argument"),
        ("search(object())", "TypeError", "takes values that JSON has"),
    ],
)
def test_wrong_arguments_are_refused_as_python_does(session, call, error, words):
    outcome = session.run(call, tools={"search": search})
    assert isinstance(outcome, Raised)
    assert outcome.error.type == error
    assert words in outcome.error.message


def broken(kind: str) -> None:
    if kind == "known":
        raise FileNotFoundError("no such document")
    if kind == "own":
        raise ToolError("QuotaExceeded", "try tomorrow")
    raise type("Strange", (Exception,), {})("secret path /etc/shadow")


def test_exceptions_cross_by_type_and_never_with_a_traceback_of_the_host(session):
    code = (
        "def attempt(kind):\n"
        "    try:\n"
        "        broken(kind)\n"
        "    except FileNotFoundError as error:\n"
        "        return 'FileNotFoundError', str(error)\n"
        "    except ToolError as error:\n"
        "        return error.type, error.message\n"
        "[attempt(kind) for kind in ('known', 'own', 'other')]\n"
    )
    outcome = session.run(code, tools={"broken": broken})
    assert outcome.text == repr(
        [
            ("FileNotFoundError", "no such document"),
            ("QuotaExceeded", "try tomorrow"),
            ("Strange", "secret path /etc/shadow"),
        ]
    )
    assert "test_host_tools.py" not in outcome.model_dump_json()


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


class Bottom(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        Bottom(),
        Unprintable(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_function_raises_never_ends_the_host_nor_leaves_the_snippet_waiting(
    session, error, is_async
):
    def fail():
        raise error

    async def fail_soon():
        raise error

    code = "try:\n    fail()\nexcept ToolError as error:\n    print(error.type)\n"
    outcome = session.run(
        code, tools={"fail": fail_soon if is_async else fail}, limits=Limits(wall_s=20)
    )
    assert outcome.stdout == f"{type(error).__name__}\n"
    assert session.run("1").text == "1"


def test_several_calls_are_under_way_at_once(session):
    began = time.monotonic()
    outcome = session.run(
        "import asyncio\nawait asyncio.gather(*(fetch(n) for n in range(8)))",
        tools={"fetch": fetch},
    )
    assert outcome.text == "[0, 10, 20, 30, 40, 50, 60, 70]"
    assert time.monotonic() - began < 8 * 0.2
    assert len(outcome.tool_calls) == 8


def test_both_ways_of_calling_work_for_both_kinds_of_functions(session):
    tools = {"search": search, "fetch": fetch}
    assert session.run("(len(search('a')), fetch(1))", tools=tools).text == "(3, 10)"
    outcome = session.run("a = len(await search('a'))\nb = await fetch(2)\n(a, b)", tools=tools)
    assert outcome.text == "(3, 20)"


def test_threads_of_a_snippet_may_call_too(session):
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(fetch, range(4)))\n"
        "found"
    )
    assert session.run(code, tools={"fetch": fetch}).text == "[0, 10, 20, 30]"


def slow() -> str:
    time.sleep(0.6)
    return "done"


def test_the_clock_of_a_snippet_stands_still_while_the_host_works(session):
    outcome = session.run("slow()", tools={"slow": slow}, limits=Limits(wall_s=0.4))
    assert isinstance(outcome, Completed)
    assert outcome.usage.host_s >= 0.6
    late = session.run("slow()\nwhile True: pass", tools={"slow": slow}, limits=Limits(wall_s=0.4))
    assert late.status == "limit_exceeded"


def test_a_call_has_its_own_limits_in_time_and_number(session):
    tools = {
        "slow": HostTool(slow, timeout_s=0.1),
        "search": HostTool(search, max_calls=2),
    }
    outcome = session.run("slow()", tools=tools)
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "TimeoutError"
    outcome = session.run("for _ in range(3): search('x')", tools=tools)
    assert isinstance(outcome, Raised)
    assert outcome.error.message == "search was called 2 times, which is the most"


def test_a_call_is_asked_for_first_where_that_is_wanted(session):
    asked = []

    async def approve(name, arguments):
        asked.append((name, dict(arguments)))
        await asyncio.sleep(0.2)
        return arguments["query"] == "good"

    tools = {"search": HostTool(search, approve=approve)}
    assert session.run("len(search('good'))", tools=tools).text == "3"
    outcome = session.run("search('bad')", tools=tools)
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "PermissionError"
    assert asked == [("search", {"query": "good"}), ("search", {"query": "bad"})]


def test_a_large_result_arrives_and_is_described_in_the_outcome(session):
    outcome = session.run("len(big())", tools={"big": lambda: "x" * 3_000_000})
    assert outcome.text == "3000000"
    assert outcome.tool_calls[0].result == "3000002 characters"


def test_a_result_that_json_has_not_is_an_error_of_the_call(session):
    outcome = session.run("odd()", tools={"odd": lambda: object()})
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "TypeError"


@pytest.mark.parametrize("tools", [{"a b": search}, {"x": 3}, {"x": len}])
def test_wrong_tools_are_refused(session, tools):
    with pytest.raises(PolicyError):
        session.run("1", tools=tools)


def test_a_hostile_snippet_can_call_only_what_it_was_given(session):
    code = (
        "[tools] = [cell.cell_contents for cell in search.__closure__\n"
        "           if type(cell.cell_contents).__name__ == 'HostTools']\n"
        "own = tools._speaker\n"
        "from sandbox.protocol.messages import ToolCall\n"
        "own._say(ToolCall(own._nonce, 1, 'secret', '{\"args\": [], \"kwargs\": {}}'))\n"
        "import time; time.sleep(5)\n"
    )
    outcome = session.run(code, tools={"search": search})
    assert isinstance(outcome, Died)
    assert outcome.tool_calls == ()
    assert "a call of a function that it was not given" in outcome.denials[0].tried


async def test_a_snippet_that_is_killed_cancels_its_calls():
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with AsyncSandbox() as box, box.session() as session:
        task = asyncio.ensure_future(session.run("x = 1\nendless()", tools={"endless": endless}))
        await asyncio.sleep(0.5)
        session.interrupt()
        outcome = await task
        assert isinstance(outcome, Raised)
        assert outcome.error.type == "KeyboardInterrupt"
        await asyncio.wait_for(cancelled.wait(), 5)
        assert (await session.run("x")).text == "1"
