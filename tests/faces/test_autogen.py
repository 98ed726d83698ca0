"""AutoGen's executor, as its agents call it."""

import asyncio

import examples
import pytest

pytest.importorskip("autogen_core", reason="AutoGen is installed apart. Run: make test-faces")

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

from runner.faces.autogen import CellblockExecutor
from sandbox import AsyncSandbox

pytestmark = pytest.mark.slow


async def test_blocks_share_variables_and_files_until_a_restart():
    async with AsyncSandbox() as box, CellblockExecutor(box) as executor:
        blocks = [
            CodeBlock("x = 6; print('out'); open('f', 'w').write('7')", "python"),
            CodeBlock("cat f; echo err >&2", "bash"),
            CodeBlock("x * 7", "py"),
        ]
        result = await executor.execute_code_blocks(blocks, CancellationToken())
        assert (result.exit_code, result.output) == (0, "out\n1\n7err\n42\n")
        await executor.restart()
        result = await executor.execute_code_blocks([CodeBlock("x", "python")], CancellationToken())
        assert result.exit_code == 1
        assert "NameError" in result.output


async def test_the_first_block_that_fails_is_the_last():
    async with AsyncSandbox() as box, CellblockExecutor(box) as executor:
        blocks = [CodeBlock("exit 3", "sh"), CodeBlock("print('more')", "python")]
        result = await executor.execute_code_blocks(blocks, CancellationToken())
        assert (result.exit_code, result.output) == (3, "")
        with pytest.raises(ValueError, match="fortran"):
            await executor.execute_code_blocks([CodeBlock("x", "fortran")], CancellationToken())


async def test_a_cancelled_token_ends_the_code_and_the_session_goes_on():
    async with AsyncSandbox() as box, CellblockExecutor(box) as executor:
        token = CancellationToken()
        asyncio.get_running_loop().call_later(0.5, token.cancel)
        with pytest.raises(asyncio.CancelledError):
            await executor.execute_code_blocks([CodeBlock("while True: pass", "python")], token)
        result = await executor.execute_code_blocks([CodeBlock("1", "python")], CancellationToken())
        assert result.output == "1\n"


def test_the_example_of_the_document_prints_what_it_says():
    examples.check("AutoGen")
