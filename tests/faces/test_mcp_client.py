"""Tools of MCP servers as functions in snippets: over stdio and HTTP, typed, closed."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="pip install 'mcp>=2.3'")

from mcp_types import Tool
from serving import KEY, TalkModel, config, directory, serving

from runner.config import McpSettings
from runner.errors import ConfigError
from runner.faces.mcp_client import McpFailed, McpTools, mcp_tools, mcp_tools_now, signature_of
from runner.faces.mcp_functions import McpFunctions
from sandbox import AsyncSandbox, Outcome, Raised, Sandbox

SERVER = '''
import os, sys
from pydantic import BaseModel
from mcp.server.mcpserver import MCPServer
server = MCPServer("tests")

class Place(BaseModel):
    name: str
    people: int

@server.tool()
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b

@server.tool(name="find-place")
def find_place(name: str) -> Place:
    return Place(name=name, people=7)

@server.tool(name="print")
def shout(text: str, class_: str = "x") -> str:
    return text.upper()

@server.tool()
def fail(why: str) -> str:
    raise RuntimeError(why)

@server.tool()
async def wait(seconds: float) -> str:
    import asyncio
    await asyncio.sleep(seconds)
    return "waited"

@server.tool()
def pid() -> int:
    return os.getpid()

if sys.argv[1:] == ["http"]:
    server.run(transport="streamable-http", port=int(os.environ["PORT"]))
else:
    server.run(transport="stdio")
'''


def error_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Raised)
    return outcome.error.type


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mcp") / "server.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
async def tools(script: Path) -> AsyncIterator[McpTools]:
    async with await mcp_tools([sys.executable, str(script)]) as tools:
        yield tools


@pytest.mark.slow
async def test_one_program_makes_many_typed_calls(tools: McpTools) -> None:
    assert set(tools) == {"add", "find_place", "print_", "fail", "wait", "pid"}
    code = "[add(n) + add(n, b=1) for n in range(3)], find_place('here')['people'], print_('a')"
    async with AsyncSandbox(tools=tools) as box:
        outcome = await box.run(code)
        assert outcome.text == "([3, 5, 7], 7, 'A')"
        assert (outcome.tool_calls[0].name, outcome.tool_calls[0].arguments) == ("add", {"a": 0})
        shown = await box.run("import inspect; str(inspect.signature(add)), add.__doc__")
        assert "(a, b=2)" in str(shown.text)
        assert "Adds two numbers." in str(shown.text)


@pytest.mark.slow
async def test_errors_are_tool_errors_and_wrong_calls_type_errors(tools: McpTools) -> None:
    code = """
found = []
for call in (lambda: fail("broken"), lambda: add("x"), lambda: add(), lambda: add(1, 2, 3),
             lambda: add(1, c=2), lambda: add(1, a=2)):
    try:
        call()
    except Exception as error:
        found.append(f"{type(error).__name__} {getattr(error, 'type', '')}".strip())
' '.join(found)"""
    async with AsyncSandbox() as box:
        outcome = await box.run(code, tools=tools)
    assert outcome.text == repr(" ".join(["ToolError McpError"] * 2 + ["TypeError"] * 4))


@pytest.mark.slow
async def test_a_call_that_takes_too_long_ends_and_the_server_goes_on(script: Path) -> None:
    command = [sys.executable, str(script)]
    async with await mcp_tools(command, timeout_s=0.5) as tools, AsyncSandbox(tools=tools) as box:
        assert error_of(await box.run("wait(60)")) in ("TimeoutError", "ToolError")
        assert (await box.run("add(1)")).text == "3"


@pytest.mark.slow
def test_without_an_event_loop_and_the_command_ends_with_it(script: Path) -> None:
    tools = mcp_tools_now(f"{sys.executable} {script}", allowed=["pid", "add"], prefix="t_")
    with Sandbox() as box, box.session(tools=tools) as session:
        pid = int(session.run("t_pid()").text)
        assert os.path.exists(f"/proc/{pid}")
        assert session.run("t_add(1, 1)").text == "2"
        assert set(tools) == {"t_pid", "t_add"}
        tools.close_now()
        tools.close_now()
        assert not os.path.exists(f"/proc/{pid}")
        assert error_of(session.run("t_pid()")) == "ToolError"


@pytest.mark.slow
async def test_over_http(script: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PORT": str(port)}
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(script), "http", env=environment
    )
    try:
        for _ in range(100):
            try:
                tools = await mcp_tools(f"http://127.0.0.1:{port}/mcp")
                break
            except McpFailed:
                await asyncio.sleep(0.2)
        async with tools, AsyncSandbox(tools=tools) as box:
            assert (await box.run("add(20, 22)")).text == "42"
            server.kill()
            await server.wait()
            assert error_of(await box.run("add(1)")) == "ToolError"
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


@pytest.mark.parametrize(
    "server",
    ["", "no-such-command-here", ["true"], "http://127.0.0.1:1/mcp", "http://127.0.0.1:1/sse"],
)
async def test_a_server_that_is_none_is_told(server: str) -> None:
    with pytest.raises(McpFailed) as seen:
        await mcp_tools(server)
    assert seen.value.problem


async def test_a_tool_that_is_not_there_is_told_and_nothing_is_left(script: Path) -> None:
    with pytest.raises(McpFailed, match="no tool other"):
        await mcp_tools([sys.executable, str(script)], allowed=["add", "other"])


def test_names_and_signatures_are_pythons() -> None:
    schema = {
        "type": "object",
        "properties": {
            "max-results": {"type": "integer", "default": 5, "description": "How many."},
            "from": {"type": "string"},
            "kinds": {"type": "array", "items": {"enum": ["a", "b"]}},
        },
        "required": ["from"],
    }
    tool = Tool(name="web.search-it", description="Looks.", input_schema=schema)
    found = signature_of(tool, taken={"web_search_it": 1}, prefix="")
    assert found.name == "web_search_it_2"
    assert found.rows == (
        ("from_", 1, False, None),
        ("max_results", 1, True, 5),
        ("kinds", 1, True, None),
    )
    assert found.properties == {"from_": "from", "max_results": "max-results", "kinds": "kinds"}
    assert "kinds (array of one of 'a', 'b')" in found.doc
    assert found.line == "web_search_it_2(from_, max_results=5, kinds=None): Looks."
    for name in ("list", "9", "класс", "None", "-"):
        one = signature_of(Tool(name=name, input_schema={}), taken={}, prefix="")
        assert one.name.isidentifier()
        assert one.name not in ("list", "None")


@pytest.mark.slow
def test_servers_of_the_config_are_functions_of_every_snippet(script: Path) -> None:
    mcp = {"tests": McpSettings(command=(sys.executable, str(script)), tools=("add",))}
    with serving(directory(TalkModel({})), config(mcp=mcp)) as running:
        assert "add(a, b=2): Adds two numbers." in running.services.mcp_functions.described
        with Sandbox.connect(running.origin, key=KEY) as box, box.session() as session:
            assert session.run("add(1, 4)").text == "5"
            assert error_of(session.run("fail('x')")) == "NameError"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (McpSettings(), "either a url or a command"),
        (McpSettings(url="http://a", command=("b",)), "either a url or a command"),
        (McpSettings(command=("no-such-command-here",)), "gives no tools"),
        (McpSettings(url="http://a", headers_env={"X": "NO_SUCH_VARIABLE"}), "is not set"),
    ],
)
def test_a_wrong_server_of_the_config_is_named(settings: McpSettings, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as seen:
        McpFunctions({"one": settings})
    assert seen.value.field.startswith("mcp.one")
