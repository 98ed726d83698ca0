"""AG2: a session as the environment of `SandboxCodeTool` and `SandboxShellTool`.

Source: the package ag2, `tools/sandbox/base.py` and `factory.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath

from ag2.tools.sandbox import ExecResult, Sandbox, SandboxBase

from runner.faces.shell import ending_of, status_of
from sandbox import AsyncSession

WORKSPACE = PurePosixPath("/mnt/data")


class CellblockSandbox(SandboxBase):
    """Commands and files of a session, which stays its owner's to close."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    @property
    def workdir(self) -> PurePosixPath:
        """Where commands start."""
        return WORKSPACE

    @property
    def host_workdir(self) -> Path | None:
        """None: the host sees no files of a session."""
        return None

    async def exec(
        self,
        argv: list[str],
        *,
        env: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Run a command; 124 is the status of one that ran out of time.

        Without a `timeout` that is the policy's `wall_s`. Raises SandboxError when the session is
        gone.
        """
        result = await self._session.exec(argv, env=env, timeout_s=timeout)
        output = result.text + result.stderr.decode("utf-8", "replace")
        told = f"\n[{ending_of(result)}]\n" if result.limit else ""
        return ExecResult(output + told, status_of(result))

    async def put_file(self, path: PurePosixPath, content: bytes) -> None:
        """Write a file below the working directory. Raises ValueError for another, FileRefused."""
        if path.is_absolute():
            raise ValueError(f"{path} is absolute; give a path below {WORKSPACE}")
        await self._session.put(str(path), content)


class CellblockEnvironment:
    """What AG2's tools are given: `SandboxCodeTool(CellblockEnvironment(session))`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    @property
    def workdir(self) -> PurePosixPath:
        """Where commands start."""
        return WORKSPACE

    @asynccontextmanager
    async def open(self, context: object = None) -> AsyncIterator[Sandbox]:
        """Open the one session that all calls share; it stays open after each."""
        yield CellblockSandbox(self._session)
