"""The MCP server through the official client, over stdio."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("mcp", reason="pip install 'mcp>=2.3'")

from mcp import ClientSession, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

from runner.faces import mcp_stdio

SERVER = StdioServerParameters(command=sys.executable, args=["-m", "runner", "mcp"])
pytestmark = pytest.mark.slow


@asynccontextmanager
async def connected() -> AsyncIterator[ClientSession]:
    async with stdio_client(SERVER) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        yield client


async def test_tools_are_listed_with_annotations():
    async with connected() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {
        "run_python", "run_command", "list_files", "read_file", "write_file", "reset",
        "checkpoint", "rollback",
    }  # fmt: skip
    assert tools["list_files"].annotations.read_only_hint is True


async def test_variables_persist_in_a_session_by_name():
    async with connected() as client:
        await client.call_tool("run_python", {"code": "x = 20", "session": "a"})
        found = await client.call_tool("run_python", {"code": "x + 1", "session": "a"})
        other = await client.call_tool("run_python", {"code": "x", "session": "b"})
    assert found.structured_content["text"] == "21"
    assert found.content[0].text == "completed\nvalue: 21"
    assert other.is_error
    assert "NameError" in other.content[0].text


async def test_a_plot_is_image_content_and_a_limit_is_an_error():
    pytest.importorskip("matplotlib")
    async with connected() as client:
        code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
        plot = await client.call_tool("run_python", {"code": code})
        late = await client.call_tool("run_python", {"code": "while True: pass", "timeout_s": 0.5})
    assert [block.type for block in plot.content] == ["text", "image"]
    assert plot.content[1].mime_type == "image/png"
    assert late.is_error
    assert late.structured_content["status"] == "limit_exceeded"


async def test_files_and_commands_share_the_workspace():
    async with connected() as client:
        await client.call_tool("write_file", {"path": "a.txt", "content": "one\ntwo\n"})
        counted = await client.call_tool("run_command", {"command": "wc -l < a.txt; exit 3"})
        listed = await client.call_tool("list_files", {})
        read = await client.call_tool("read_file", {"path": "a.txt"})
        missing = await client.call_tool("read_file", {"path": "b.txt"})
    assert (counted.structured_content["exit_code"], counted.is_error) == (3, True)
    assert counted.structured_content["stdout"] == "2\n"
    assert listed.structured_content["files"] == ["a.txt"]
    assert read.content[0].text == "one\ntwo\n"
    assert missing.is_error


async def test_a_session_is_put_back_and_made_fresh():
    async with connected() as client:
        await client.call_tool("run_python", {"code": "x = 1"})
        await client.call_tool("checkpoint", {"label": "one"})
        await client.call_tool("run_python", {"code": "x = 2"})
        await client.call_tool("rollback", {"label": "one"})
        back = await client.call_tool("run_python", {"code": "x"})
        wrong = await client.call_tool("rollback", {"label": "none"})
        await client.call_tool("reset", {})
        fresh = await client.call_tool("run_python", {"code": "'x' in globals()"})
    assert back.structured_content["text"] == "1"
    assert wrong.is_error
    assert fresh.structured_content["text"] == "False"


async def test_a_cancelled_call_ends_its_snippet_and_the_session_goes_on():
    async with connected() as client:
        await client.call_tool("run_python", {"code": "x = 1"})
        code = "open('begun', 'w').close()\nwhile True: pass"
        calling = asyncio.ensure_future(client.call_tool("run_python", {"code": code}))
        for _ in range(200):
            found = await client.call_tool("run_command", {"command": "ls"})
            if "begun" in found.structured_content["stdout"]:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the snippet did not begin")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        async with asyncio.timeout(30):  # Its own limit is a minute.
            found = await client.call_tool("run_python", {"code": "x + 1"})
    assert found.structured_content["text"] == "2"


async def test_a_long_message_goes_both_ways():
    text = "\u00e9" * 1_000_000
    async with connected() as client:
        written = await client.call_tool("write_file", {"path": "a.txt", "content": text})
        read = await client.call_tool("read_file", {"path": "a.txt"})
    assert not written.is_error
    assert read.content[0].text == text


def messages() -> bytes:
    asked = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    lines = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    )
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def test_pipes_are_answered_until_their_end():
    command = [SERVER.command, *SERVER.args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(messages())
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0
    assert [one["id"] for one in answers] == [1, 2]


def test_files_are_read_and_written_too(tmp_path):
    (tmp_path / "in").write_bytes(messages())
    with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as out:
        command = [SERVER.command, *SERVER.args]
        subprocess.run(command, stdin=given, stdout=out, timeout=60, check=True)
    assert json.loads((tmp_path / "out").read_bytes().splitlines()[0])["id"] == 1


async def test_the_end_waits_for_answers_but_not_for_what_was_cancelled():
    waiting = mcp_stdio._Open()
    await waiting.wait()
    for line in messages().decode().splitlines():
        waiting.came(line)
    waiting.went('{"jsonrpc":"2.0","method":"notifications/message","params":{}}')
    ending = asyncio.ensure_future(waiting.wait())
    waiting.went('{"jsonrpc":"2.0","id":1,"result":{}}')
    await asyncio.sleep(0)
    assert not ending.done()
    waiting.came('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}')
    await ending


def test_a_message_that_is_too_long_ends_serving_and_is_told():
    code = (
        "from runner.faces import mcp, mcp_stdio; import asyncio; mcp_stdio.LINE_BYTES = 4096;"
        "asyncio.run(mcp_stdio.serve(mcp.make_server()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=messages() + b"x" * 10_000,
        capture_output=True,
        timeout=60,
    )
    assert ran.returncode == 0
    assert ran.stderr == b"A message has over 4096 bytes: serving ends.\n"
    assert json.loads(ran.stdout.splitlines()[0])["id"] == 1


async def test_files_of_a_session_are_resources():
    async with connected() as client:
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "cellblock://{session}/{+path}"
        await client.call_tool(
            "write_file", {"path": "d/a.bin", "content": "AP8=", "encoding": "base64"}
        )
        [found] = (await client.read_resource("cellblock://default/d/a.bin")).contents
        assert found.blob == "AP8="
        for uri in ("default/none", "default//etc/passwd", "default/../x", "other/d/a.bin"):
            with pytest.raises(MCPError):
                await client.read_resource(f"cellblock://{uri}")


async def test_an_end_is_told_as_data_too():
    async with connected() as client:
        raised = await client.call_tool("run_python", {"code": "a = 1\na / 0"})
        late = await client.call_tool("run_python", {"code": "while True: pass", "timeout_s": 0.3})
        code = "import os; os.kill(os.getpid(), 9)"
        died = await client.call_tool("run_python", {"code": code})
    error = raised.structured_content["error"]
    assert (error["type"], error["message"]) == ("ZeroDivisionError", "division by zero")
    assert "line 2" in error["traceback"]
    told = late.structured_content
    assert (told["limit"], told["allowed"]) == ("wall_s", 0.3)
    assert told["observed"] >= 0.3
    told = died.structured_content
    assert (told["signal"], told["exit_code"], told["state"]) == ("SIGKILL", None, "rolled_back")


async def test_output_that_is_left_out_is_told():
    code = "print('a' * 20_000 + 'b' * 30_000 + 'end')"
    async with connected() as client:
        ran = await client.call_tool("run_python", {"code": code})
        commanded = await client.call_tool("run_command", {"command": f'python -c "{code}"'})
    for told in (ran.structured_content, commanded.structured_content):
        assert len(told["stdout"]) <= 30_000
        assert told["stdout"].startswith("aaa")
        assert told["stdout"].endswith("end\n")
        assert "characters left out ...]" in told["stdout"]
    assert len(commanded.content[0].text) <= 30_100
