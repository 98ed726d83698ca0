"""Pydantic AI: a session as the workspace of an agent run, and a toolset that runs Python in one.

File operations are those that the package derives from commands: they follow links and keep modes
as its contract asks. Source: the package pydantic-ai-slim, `workspaces/protocol.py`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import ModelRetry, RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.toolsets import FunctionToolset
from pydantic_ai.workspaces import (
    CommandResult,
    SupportsCommands,
    WorkspaceBackend,
    WorkspaceCommand,
    WorkspaceOutputLimitError,
    WorkspaceRef,
    WorkspaceTimeoutError,
    WorkspaceUnavailableError,
)
from pydantic_ai.workspaces.protocol import validate_timeout

from runner.faces.shell import is_cut, new_name, status_of
from sandbox import (
    AsyncSandbox,
    AsyncSession,
    ExecResult,
    HostTool,
    SandboxError,
    SessionError,
)

PROVIDER = "cellblock"
WORKSPACE = "/mnt/data"
LONGEST_S = 24 * 3600.0
"""For commands without a time of their own."""


@dataclass
class CellblockWorkspaces(AbstractCapability[Any]):
    """The workspaces of a sandbox by their refs: `Agent(..., capabilities=[this])`.

    A run has a session of its own, or goes on in the one that its `workspace=` names. Sessions stay
    until `destroy`, or the sandbox's close.
    """

    box: AsyncSandbox
    sessions: dict[str, AsyncSession] = field(default_factory=dict)

    def get_workspace(
        self, ctx: RunContext[Any], *, ref: WorkspaceRef | None
    ) -> WorkspaceBackend | None:
        """The workspace that a run asks for; None for one of another provider."""
        return None if ref is not None and ref.provider != PROVIDER else self.backend(ref)

    def backend(self, ref: WorkspaceRef | None = None) -> "CellblockWorkspace":
        """A workspace that is new, or the one of `ref`; nothing is started yet."""
        return CellblockWorkspace(self, ref)

    async def destroy(self, ref: WorkspaceRef) -> None:
        """End the session of a workspace, with its files."""
        session = self.sessions.pop(ref.id, None)
        if session is not None:
            await session.close()


class CellblockWorkspace(WorkspaceBackend, SupportsCommands):
    """A session as a workspace; made by `CellblockWorkspaces`."""

    def __init__(self, home: CellblockWorkspaces, ref: WorkspaceRef | None) -> None:
        self._home = home
        self._ref = ref
        self._opening: asyncio.Task[None] | None = None

    @property
    def ref(self) -> WorkspaceRef | None:
        """The identity of the session; None before the first operation of a new one."""
        return self._ref

    async def working_dir(self) -> str:
        """Where commands start, and relative paths. Raises WorkspaceUnavailableError."""
        await self._session()
        return WORKSPACE

    async def run(
        self,
        command: WorkspaceCommand,
        *,
        shell: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a command to its end. Raises what the package's protocol names."""
        if isinstance(command, str) != shell:
            raise TypeError("a text goes with shell=True, a list of texts with shell=False")
        validate_timeout(timeout)
        session = await self._session()
        try:
            result = await session.exec(
                command, env=env, cwd=WORKSPACE, timeout_s=timeout or LONGEST_S
            )
        except SessionError as error:
            raise WorkspaceUnavailableError(str(error)) from error
        if not session.is_live:  # It was ended, and the command with it.
            raise WorkspaceUnavailableError("The session was ended while the command ran.")
        return _checked(result, timeout)

    async def _session(self) -> AsyncSession:
        if self._ref is None:
            # One for all first operations, and kept when the caller of one is cancelled.
            self._opening = self._opening or asyncio.create_task(self._open())
            await asyncio.shield(self._opening)
        assert self._ref is not None
        session = self._home.sessions.get(self._ref.id)
        if session is None or not session.is_live:
            raise WorkspaceUnavailableError(
                f"The workspace {self._ref.id} is gone; start one without a ref."
            )
        return session

    async def _open(self) -> None:
        try:
            session = await self._home.box.session()
        except BaseException:
            self._opening = None
            raise
        ref = WorkspaceRef(provider=PROVIDER, id=new_name())
        self._home.sessions[ref.id] = session
        self._ref = ref


def _checked(result: ExecResult, timeout: float | None) -> CommandResult:
    """The result as the package has it. Raises its errors for one that is not whole."""
    stdout, stderr = (part.decode("utf-8", "replace") for part in (result.stdout, result.stderr))
    if result.timed_out:
        raise WorkspaceTimeoutError(
            f"The command was ended after {timeout} s.", stdout=stdout, stderr=stderr
        )
    if result.limit or is_cut(result):
        kept = max(result.truncated.stdout.kept_bytes, result.truncated.stderr.kept_bytes)
        raise WorkspaceOutputLimitError(
            f"The command wrote more than the {kept} bytes that are kept of a stream; write to a"
            " file, or raise Limits(kept_bytes=...).",
            limit=kept,
            stdout=stdout,
            stderr=stderr,
        )
    return CommandResult(exit_code=status_of(result), stdout=stdout, stderr=stderr)


def python_toolset(
    session: AsyncSession,
    *,
    tools: Mapping[str, Callable[..., Any] | HostTool] | None = None,
    name: str = "run_python",
) -> FunctionToolset[Any]:
    """A toolset of one tool, which runs Python in `session`; what it wrote may call `tools`.

    What the engine cannot do is a ModelRetry, so that the model may try something else.
    """

    async def run_python(code: str) -> str:
        try:
            return (await session.run(code, tools=tools)).for_model()
        except SandboxError as error:
            raise ModelRetry(str(error)) from error

    functions = ", ".join(tools or {})
    toolset: FunctionToolset[Any] = FunctionToolset()
    toolset.add_function(
        run_python,
        name=name,
        description=(
            "Run Python. Variables, imports and files in /mnt/data persist from call to call; the"
            " last expression is shown."
        )
        + (f" Functions that it may call: {functions}." if functions else ""),
        sequential=True,
    )
    return toolset
