"""AutoGen: a session as the executor of its `CodeExecutorAgent` and `PythonCodeExecutionTool`.

Source: the package autogen-core, `code_executor/_base.py`.
"""

import asyncio
from typing import Any

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeExecutor, CodeResult

from runner.faces.shell import TIMED_OUT, ending_of, status_of
from sandbox import AsyncSandbox, AsyncSession, LimitExceeded, exit_status

PYTHON = frozenset({"python", "py", "python3"})
SHELL = frozenset({"sh", "bash", "shell", "console"})


class CellblockExecutor(CodeExecutor):
    """Runs Python and shell blocks in one session; variables and files stay until `restart`.

    The session is opened by `start`, or by the first blocks, and ended by `stop`.
    """

    def __init__(self, box: AsyncSandbox) -> None:
        self._box = box
        self._session: AsyncSession | None = None

    async def start(self) -> None:
        """Open the session, if there is none."""
        if self._session is None:
            self._session = await self._box.session()

    async def stop(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def restart(self) -> None:
        """Go on in a new session."""
        await self.stop()
        await self.start()

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CodeResult:
        """Run the blocks in turn, up to the first that fails.

        Raises ValueError for a language that is none of ours, CancelledError when the token is
        cancelled, SandboxError.
        """
        for block in code_blocks:
            if block.language.lower() not in PYTHON | SHELL:
                known = ", ".join(sorted(PYTHON | SHELL))
                raise ValueError(f"the language {block.language!r} is none of {known}")
        await self.start()
        status, output = 0, ""
        for block in code_blocks:
            work: asyncio.Task[tuple[int, str]] = asyncio.ensure_future(self._run(block))
            cancellation_token.link_future(work)
            status, said = await work
            output += said
            if status:
                break
        return CodeResult(exit_code=status, output=output)

    async def _run(self, block: CodeBlock) -> tuple[int, str]:
        assert self._session is not None
        if block.language.lower() in SHELL:
            done = await self._session.exec(block.code)
            said = done.text + done.stderr.decode("utf-8", "replace")
            told = f"\n[{ending_of(done)}]\n" if done.limit else ""
            return status_of(done), said + told
        outcome = await self._session.run(block.code)
        if outcome.status == "completed":
            text = "" if outcome.text is None else f"{outcome.text}\n"
            return 0, outcome.stdout + outcome.stderr + text
        status = TIMED_OUT if isinstance(outcome, LimitExceeded) else exit_status(outcome)
        return status, outcome.for_model()

    def _to_config(self) -> Any:
        raise NotImplementedError("a sandbox of a process is no configuration; make it anew")
