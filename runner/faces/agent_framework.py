"""Microsoft's agent-framework: a session as function tools, as a provider of context, as its shell.

Source: the packages agent-framework-core, `_tools.py` and `_sessions.py`, and
agent-framework-tools, `shell/_executor_base.py`, which the shell alone needs.
"""

import importlib
import time
from typing import Annotated, Any, Self

from agent_framework import AgentSession, ContextProvider, FunctionTool, SessionContext
from pydantic import Field

from runner.faces.shell import ending_of, is_cut, said_by, status_of
from sandbox import AsyncSandbox, AsyncSession, SandboxError

SHOWN_CHARS = 8_000
SOURCE_ID = "cellblock"
HOW = (
    "execute_code and shell work in one jail without a network: variables, imports and files in"
    " /mnt/data persist from call to call."
)
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


class CellblockProvider(ContextProvider):
    """Gives each conversation of an agent a session of its own, with both tools and a word on them.

    A session ends with the sandbox, or by `close`; one that died is replaced by a fresh one.
    """

    def __init__(
        self,
        box: AsyncSandbox,
        *,
        source_id: str = SOURCE_ID,
        shown_chars: int = SHOWN_CHARS,
    ) -> None:
        super().__init__(source_id)
        self._box = box
        self._shown_chars = shown_chars
        self._sessions: dict[str, AsyncSession] = {}

    async def before_run(
        self, *, agent: Any, session: AgentSession, context: SessionContext, state: dict[str, Any]
    ) -> None:
        """Add the tools of the conversation's session. Raises SandboxError."""
        live = self._sessions.get(session.session_id)
        if live is None or not live.is_live:
            live = self._sessions[session.session_id] = await self._box.session()
        tools = [
            make(live, shown_chars=self._shown_chars) for make in (execute_code_tool, shell_tool)
        ]
        context.extend_tools(self.source_id, tools)
        context.extend_instructions(self.source_id, HOW)

    async def close(self, session_id: str) -> None:
        """End the session of a conversation, if it has one."""
        if (live := self._sessions.pop(session_id, None)) is not None:
            await live.close()


class CellblockShell:
    """A `ShellExecutor`, as for `create_harness_agent(shell_executor=...)`: commands of a session.

    Each command is a shell of its own, which starts in /mnt/data: `cd` and `export` end with it,
    files stay. Its policy is the session's jail, so no command is asked about.
    """

    def __init__(self, session: AsyncSession) -> None:
        """Take a session, which stays its owner's to close."""
        self._session = session

    async def start(self) -> None:
        """Do nothing: a session is ready."""

    async def close(self) -> None:
        """Do nothing: the session is its owner's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def run(self, command: str, *, timeout: float | None = None) -> Any:
        """Run shell text; its ShellResult. A command that is cancelled is killed.

        Without a `timeout` the policy's `wall_s` is one. Raises ShellExecutionError of the package
        when the session is gone.
        """
        types = importlib.import_module("agent_framework_tools.shell")
        began = time.monotonic()
        try:
            done = await self._session.exec(command, timeout_s=timeout)
        except SandboxError as error:
            raise types.ShellExecutionError(str(error)) from error
        return types.ShellResult(
            stdout=done.text,
            stderr=done.stderr.decode("utf-8", "replace"),
            exit_code=status_of(done),
            duration_ms=round((time.monotonic() - began) * 1000),
            truncated=is_cut(done) or done.limit == "output_bytes",
            timed_out=done.timed_out,
        )

    def as_function(self) -> FunctionTool:
        """Return the tool by which an agent runs commands here."""

        async def run_shell(command: Annotated[str, Field(description="Shell text.")]) -> str:
            done = await self.run(command)
            told: str = done.format_for_model()
            return told

        words = "Run a shell command in the directory /mnt/data of a jail."
        return FunctionTool(name="run_shell", description=words, func=run_shell, kind="shell")
