"""OpenAI's Agents SDK: the executor of a ShellTool, as its runner calls it."""

from typing import Any, cast

import examples
import pytest

pytest.importorskip("agents", reason="openai-agents is installed apart. Run: make test-faces")

from agents import ShellActionRequest, ShellCallData, ShellCommandRequest, ShellTool

from runner.faces.openai_agents import shell_executor
from sandbox import AsyncSandbox

pytestmark = pytest.mark.slow


def request(*commands: str, timeout_ms: int | None = None) -> ShellCommandRequest:
    action = ShellActionRequest(list(commands), timeout_ms=timeout_ms)
    return ShellCommandRequest(cast(Any, None), ShellCallData("call_1", action))


async def test_commands_of_a_call_run_in_turn_and_one_that_is_late_is_the_last():
    async with AsyncSandbox() as box, box.session() as session:
        execute = shell_executor(session)
        assert ShellTool(executor=execute).executor is execute
        done = await execute(request("echo a > f; echo out; echo err >&2; exit 3", "cat f"))
        first, second = done.output
        assert (first.stdout, first.stderr, first.exit_code) == ("out\n", "err\n", 3)
        assert (second.stdout, second.status, second.command) == ("a\n", "completed", "cat f")
        done = await execute(request("sleep 60", "echo never", timeout_ms=300))
        assert [one.status for one in done.output] == ["timeout"]


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("OpenAI Agents SDK")
