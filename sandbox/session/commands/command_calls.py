"""The part of a session that runs commands beside the interpreter."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence

from sandbox.errors import SandboxError
from sandbox.outcome import ExecResult
from sandbox.session.commands.command import AsyncCommand, CommandEvent, CommandRequest
from sandbox.session.expiry import Expiry
from sandbox.session.live_session import LiveSession, SessionOptions


class CommandCalls:
    """Commands of a session: they take no turn, and share its jail, limits and bill."""

    _options: SessionOptions
    _expiry: Expiry

    @abstractmethod
    def _alive(self) -> LiveSession:
        """What the session is now. Raises SessionClosed, SessionLost, SessionExpired."""

    @abstractmethod
    async def _settle(self) -> None:
        """Be in a process, if that of the last snippet was lost."""

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a program in the session's jail beside the interpreter and wait for its end.

        A list is the program and its arguments, a text is for `/bin/sh`. `cwd` is absolute or
        below the workspace; `env` is set over the session's own. `timeout_s` is the policy's
        `wall_s` where it is not given. Raises PolicyError, SessionClosed, SessionLost. A caller
        that is cancelled ends the command.
        """
        await self._settle()
        started = self._start(command, cwd=cwd, env=env, timeout_s=timeout_s, is_streamed=False)
        try:
            if stdin:
                await started.write(stdin)
            started.close_stdin()
            return await started.wait()
        finally:
            if started.is_running:
                started.kill()

    async def exec_stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[CommandEvent]:
        """What a program writes as it comes, `ExecFinished` last; see `exec`.

        Leaving the loop early ends it.
        """
        await self._settle()
        started = self._start(command, cwd=cwd, env=env, timeout_s=timeout_s, is_streamed=True)
        try:
            if stdin:
                await started.write(stdin)
            started.close_stdin()
            while (event := await started.read_event()) is not None:
                yield event
            await started.wait()
        finally:
            if started.is_running:
                started.kill()

    async def popen(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncCommand:
        """Start a program beside the interpreter; see `exec`.

        It runs until it ends, is killed or the session ends; `timeout_s` ends it before.
        """
        await self._settle()
        return self._start(
            command,
            cwd=cwd,
            env=env,
            timeout_s=float(LONGEST_S) if timeout_s is None else timeout_s,
            is_streamed=True,
        )

    def _start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None,
        env: Mapping[str, str] | None,
        timeout_s: float | None,
        is_streamed: bool,
    ) -> AsyncCommand:
        live, limits = self._alive(), self._options.limits
        live.forget_listing()
        request = CommandRequest.of(
            command,
            cwd=cwd,
            env=env,
            timeout_s=limits.wall_s if timeout_s is None else timeout_s,
            kept_bytes=limits.kept_bytes,
            output_bytes=limits.output_bytes,
            is_streamed=is_streamed,
        )
        # What runs is work: a session at rest is stopped until its next call.
        self._expiry.work()
        try:
            return AsyncCommand(
                live.worker, request, on_end=self._expiry.rest, loss=self._loss_of_session
            )
        except BaseException:
            self._expiry.rest()
            raise

    def _loss_of_session(self) -> SandboxError | None:
        """Why the session cannot be used any more; None where it can."""
        try:
            self._alive()
        except SandboxError as error:
            return error
        return None


LONGEST_S = 7 * 24 * 3600
