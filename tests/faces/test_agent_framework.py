"""Microsoft's agent-framework: tools of a session, invoked as its agents do."""

import examples
import pytest

pytest.importorskip("agent_framework", reason="it is installed apart. Run: make test-faces")

from runner.faces.agent_framework import execute_code_tool, shell_tool
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


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("agent-framework")
