"""Microsoft's agent-framework: a session as function tools of an agent.

Source: the package agent-framework-core, `_tools.py`.
"""

from typing import Annotated

from agent_framework import FunctionTool
from pydantic import Field

from runner.faces.shell import ending_of, said_by
from sandbox import AsyncSession

SHOWN_CHARS = 8_000
PYTHON = (
    "Run Python. Variables, imports and files in /mnt/data persist from call to call; the last"
    " expression is shown. There is no network."
)


def execute_code_tool(session: AsyncSession, *, shown_chars: int = SHOWN_CHARS) -> FunctionTool:
    """The tool `execute_code`; what a snippet did is text for the model."""

    async def execute_code(code: Annotated[str, Field(description="Python source.")]) -> str:
        outcome = await session.run(code)
        return outcome.for_model(max_chars=shown_chars)

    return FunctionTool(name="execute_code", description=PYTHON, func=execute_code)


def shell_tool(session: AsyncSession, *, shown_chars: int = SHOWN_CHARS) -> FunctionTool:
    """The tool `shell`: commands beside the interpreter, in the same jail."""

    async def shell(command: Annotated[str, Field(description="Shell text.")]) -> str:
        done = await session.exec(command)
        return f"{said_by(done, shown_chars)}\n[{ending_of(done)}]"

    words = "Run a shell command in the directory /mnt/data, beside the interpreter."
    return FunctionTool(name="shell", description=words, func=shell)
