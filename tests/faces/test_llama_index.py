"""LlamaIndex: the function of a CodeActAgent, and tools."""

import examples
import pytest

pytest.importorskip("llama_index.core", reason="it is installed apart. Run: make test-faces")

from llama_index.core.agent.workflow import CodeActAgent
from llama_index.core.llms import MockLLM

from runner.faces.llama_index import CellblockToolSpec, code_execute_fn
from sandbox import AsyncSandbox

pytestmark = pytest.mark.slow


async def test_an_agents_code_runs_with_the_functions_of_the_session():
    def search(query: str) -> str:
        return query.upper()

    async with AsyncSandbox() as box, box.session(tools={"search": search}) as session:
        execute = code_execute_fn(session)
        agent = CodeActAgent(code_execute_fn=execute, llm=MockLLM(), tools=[search])
        assert agent.code_execute_fn is execute
        found = await execute("x = search('a'); x")
        assert (found["status"], found["result"], found["error"]) == ("completed", "'A'", None)
        found = await execute("y")
        assert (found["status"], found["error"]) == ("raised", "NameError")
        assert "NameError" in found["output"]


async def test_tools_share_one_session():
    async with AsyncSandbox() as box, box.session() as session:
        tools = {tool.metadata.name: tool for tool in CellblockToolSpec(session).to_tool_list()}
        assert set(tools) == {"code_interpreter", "shell"}
        ran = await tools["code_interpreter"].acall(code="open('f', 'w').write('7')")
        assert "1" in str(ran)
        ran = await tools["shell"].acall(command="cat f; exit 3")
        assert str(ran) == "7\n[exit 3]"


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("LlamaIndex")
