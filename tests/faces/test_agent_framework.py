"""Microsoft's agent-framework: tools of a session, invoked as its agents do."""

import asyncio
import json
from typing import Any

import examples
import pytest

pytest.importorskip("agent_framework", reason="it is installed apart. Run: make test-faces")

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    Content,
    FunctionInvocationLayer,
    Message,
)
from agent_framework_tools.shell import (
    ShellEnvironmentProvider,
    ShellExecutionError,
    ShellExecutor,
)

from runner.faces.agent_framework import (
    HOW,
    CellblockProvider,
    CellblockShell,
    execute_code_tool,
    shell_tool,
)
from sandbox import AsyncSandbox

pytestmark = pytest.mark.slow


async def test_tools_share_one_session():
    async with AsyncSandbox() as box, box.session() as session:
        python, shell = execute_code_tool(session), shell_tool(session)
        assert python.parameters()["required"] == ["code"]
        await python.invoke(arguments={"code": "x = 6; open('f', 'w').write('7')"})
        [found] = await python.invoke(arguments={"code": "x * 7"})
        assert "42" in found.text
        [found] = await python.invoke(arguments={"code": "1 / 0"})
        assert "ZeroDivisionError" in found.text
        [found] = await shell.invoke(arguments={"command": "cat f; exit 3"})
        assert found.text == "7\n[exit 3]"


class Scripted(FunctionInvocationLayer, BaseChatClient):
    """A client that answers with what it was made with, one after the other."""

    def __init__(self, *answers: Content) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[list[Message], Any]] = []

    async def _inner_get_response(self, *, messages, options, stream=False, **_more):
        assert not stream
        self.asked.append((list(messages), dict(options)))
        return ChatResponse(messages=[Message("assistant", [self.answers.pop(0)])])

    def get_shell_tool(self, *, func, **_more):
        return func


def call(number: int, name: str, **arguments: str) -> Content:
    return Content.from_function_call(str(number), name, arguments=json.dumps(arguments))


def results_of(client: Scripted) -> list[str]:
    contents = [content for message in client.asked[-1][0] for content in message.contents]
    return [str(one.result) for one in contents if one.type == "function_result"]


async def test_a_provider_gives_each_conversation_a_session_of_its_own():
    async with AsyncSandbox() as box:
        provider = CellblockProvider(box)
        client = Scripted(
            call(1, "execute_code", code="x = 6 * 7; x"),
            Content.from_text("said"),
            call(2, "execute_code", code="x + 1"),
            Content.from_text("kept"),
            call(3, "execute_code", code="x"),
            Content.from_text("other"),
        )
        agent = Agent(client, context_providers=[provider])
        one, other = agent.create_session(), agent.create_session()
        assert (await agent.run("go", session=one)).text == "said"
        assert "42" in results_of(client)[-1]
        assert HOW in client.asked[0][1]["instructions"]
        assert {tool.name for tool in client.asked[0][1]["tools"]} == {"execute_code", "shell"}
        await agent.run("go on", session=one)
        assert "43" in results_of(client)[-1]
        await agent.run("go", session=other)
        assert "NameError" in results_of(client)[-1]
        await provider.close(one.session_id)
        await provider.close(one.session_id)
        assert len(provider._sessions) == 1


async def test_the_shell_is_what_its_protocol_asks_for():
    async with AsyncSandbox() as box, box.session() as session, CellblockShell(session) as shell:
        assert isinstance(shell, ShellExecutor)
        done = await shell.run("echo a; echo b >&2; exit 3")
        assert (done.stdout, done.stderr, done.exit_code) == ("a\n", "b\n", 3)
        assert (done.truncated, done.timed_out) == (False, False)
        late = await shell.run("sleep 60", timeout=0.3)
        assert (late.exit_code, late.timed_out) == (124, True)
        assert 300 <= late.duration_ms < 30_000
        long = await shell.run("seq 1 400000")
        assert long.truncated is True
        [told] = await shell.as_function().invoke(arguments={"command": "echo $((6 * 7))"})
        assert told.text == "42\n\nexit_code: 0"
        running = asyncio.ensure_future(shell.run("echo begun > f; sleep 60; echo end > f"))
        while (await shell.run("cat f")).stdout != "begun\n":
            await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert "sleep 60" not in (await shell.run("cat /proc/*/cmdline | tr '\\0' ' '")).stdout
        probed = await ShellEnvironmentProvider(shell).refresh()
        assert probed.working_directory == "/mnt/data"
    with pytest.raises(ShellExecutionError, match="closed"):
        await shell.run("true")


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("agent-framework")
