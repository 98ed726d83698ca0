"""LlamaIndex: a session as the `code_execute_fn` of a CodeActAgent, and as a tool.

Source: the package llama-index-core, `agent/workflow/codeact_agent.py`, `tools/tool_spec/base.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from llama_index.core.tools.tool_spec.base import BaseToolSpec

from runner.faces.shell import ending_of, said_by
from sandbox import AsyncSession, Raised

SHOWN_CHARS = 8_000


def code_execute_fn(
    session: AsyncSession, *, shown_chars: int = SHOWN_CHARS
) -> Callable[[str], Awaitable[dict[str, Any]]]:
    """What a CodeActAgent is given; functions that its code is to call are the session's tools.

    The result has `status`, `output` for the model, `result` as `repr` has it, and `error`.
    """

    async def execute(code: str) -> dict[str, Any]:
        """Run Python in a session whose variables, imports and files persist."""
        outcome = await session.run(code)
        return {
            "status": outcome.status,
            "output": outcome.for_model(max_chars=shown_chars),
            "result": outcome.text,
            "error": outcome.error.type if isinstance(outcome, Raised) else None,
        }

    return execute


class CellblockToolSpec(BaseToolSpec):
    """Tools of a session: `CellblockToolSpec(session).to_tool_list()`."""

    spec_functions = ["code_interpreter", "shell"]  # noqa: RUF012 - the framework's own hint

    def __init__(self, session: AsyncSession, *, shown_chars: int = SHOWN_CHARS) -> None:
        self._session = session
        self._shown_chars = shown_chars

    async def code_interpreter(self, code: str) -> str:
        """Run Python. Variables, imports and files in /mnt/data persist from call to call."""
        outcome = await self._session.run(code)
        return outcome.for_model(max_chars=self._shown_chars)

    async def shell(self, command: str) -> str:
        """Run a shell command beside the interpreter, in the same directory."""
        done = await self._session.exec(command)
        return f"{said_by(done, self._shown_chars)}\n[{ending_of(done)}]"
