"""What any session must do with functions of its host; on the same list as `checks`."""

import time
from typing import Any

from sandbox import HostTool, Limits, ToolError
from tests.conformance.checks import Subject, check


@check
def calls_functions_of_its_host(session: Subject) -> None:
    def search(query: str, limit: int = 3) -> list[str]:
        """Finds things."""
        return [query] * limit

    async def double(number: int) -> int:
        return number * 2

    tools = {"search": search, "double": double}
    outcome = session.run("search('x', limit=2), search(query='y')", tools=tools)
    assert outcome.text == "(['x', 'x'], ['y', 'y', 'y'])"
    first = outcome.tool_calls[0]
    assert (first.name, first.arguments, first.result) == (
        "search",
        {"query": "x", "limit": 2},
        ["x", "x"],
    )
    assert (first.error, first.wall_s >= 0) == (None, True)
    code = "import asyncio\nawait asyncio.gather(*(double(n) for n in range(3)))"
    assert session.run(code, tools=tools).text == "[0, 2, 4]"
    help_text = "import inspect; str(inspect.signature(search)), search.__doc__"
    assert session.run(help_text, tools=tools).text == "('(query, limit=3)', 'Finds things.')"
    assert session.run("search").error.type == "NameError"


@check
def tells_what_a_function_of_the_host_raises(session: Subject) -> None:
    def fail(kind: str) -> None:
        raise {"key": KeyError("gone"), "own": ToolError("Busy", "later")}[kind]

    code = """
found = []
for call in (lambda: fail('key'), lambda: fail('own'), lambda: fail(1), lambda: fail()):
    try:
        call()
    except Exception as error:
        found.append((type(error).__name__, getattr(error, 'type', '')))
found"""
    outcome = session.run(code, tools={"fail": fail})
    assert outcome.text == (
        "[('KeyError', ''), ('ToolError', 'Busy'), ('TypeError', ''), ('TypeError', '')]"
    )
    assert [call.error.type for call in outcome.tool_calls] == [
        "KeyError",
        "Busy",
        "TypeError",
        "TypeError",
    ]


@check
def bounds_the_calls_of_a_function(session: Subject) -> None:
    asked = []

    def approve(name: str, arguments: Any) -> bool:
        asked.append((name, dict(arguments)))
        return arguments["n"] != 2

    tools = {"f": HostTool(lambda n: n, max_calls=3, approve=approve)}
    code = """
found = []
for n in (1, 2, 3, 4):
    try:
        found.append(f(n))
    except PermissionError as error:
        found.append(str(error))
found"""
    outcome = session.run(code, tools=tools)
    assert outcome.text == (
        "[1, 'f was not approved', 3, 'f was called 3 times, which is the most']"
    )
    assert asked == [("f", {"n": 1}), ("f", {"n": 2}), ("f", {"n": 3})]


@check
def stands_its_clock_still_while_its_host_works(session: Subject) -> None:
    def slow() -> str:
        time.sleep(0.6)
        return "done"

    outcome = session.run("slow()", tools={"slow": slow}, limits=Limits(wall_s=0.5))
    assert outcome.text == "'done'"
    tools = {"slow": HostTool(slow, timeout_s=0.1)}
    assert session.run("slow()", tools=tools).error.type == "TimeoutError"
