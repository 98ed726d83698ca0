"""Inspect AI: `sandbox="cellblock"` for tasks, a session for each sample.

Found by the entry point `inspect_ai`. Samples with the same policy share a sandbox, which starts
with the first of them. Source: the package inspect-ai, `util/_sandbox/environment.py`.
"""

import errno
import os
from typing import Any, Literal, overload

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel

from runner.faces.shell import status_of
from sandbox import (
    PROFILES,
    AsyncSandbox,
    AsyncSession,
    FileIsDirectory,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    NoRoomForFile,
    Policy,
    SessionError,
)

NAME = "cellblock"
PROFILE = "agent"
TIMEOUT_S = 24 * 3600.0
"""For commands without a time of their own: the evaluation's limits end them."""
NOT_EXECUTABLE = 126
DENIED = b"ermission denied"


class _Boxes:
    """The sandboxes of this process, by policy, each with the number of its samples."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[AsyncSandbox, int]] = {}

    async def take(self, key: str, policy: Policy) -> AsyncSandbox:
        """The sandbox of `key`, made with `policy` where there is none."""
        box, users = self._open.get(key, (AsyncSandbox(policy), 0))
        self._open[key] = (box, users + 1)
        return box

    async def leave(self, key: str) -> None:
        """Close the sandbox of `key` with its last sample."""
        box, users = self._open.pop(key)
        if users > 1:
            self._open[key] = (box, users - 1)
        else:
            await box.close()


_boxes = _Boxes()


@sandboxenv(name=NAME)
class CellblockSandboxEnvironment(SandboxEnvironment):
    """A session as the sandbox of a sample.

    The configuration is a policy: its file, the name of a profile, or its fields.
    """

    def __init__(self, session: AsyncSession) -> None:
        super().__init__()
        self._session = session
        self._key = ""

    @classmethod
    async def sample_init(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        metadata: dict[str, str],
    ) -> dict[str, SandboxEnvironment]:
        """Open a session for a sample. Raises PolicyError, LayerUnavailable, PoolFull."""
        policy = _policy(config)
        key = policy.model_dump_json()
        box = await _boxes.take(key, policy)
        try:
            environment = cls(await box.session())
        except BaseException:
            await _boxes.leave(key)
            raise
        environment._key = key
        return {"default": environment}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Close the sessions of a sample, and the sandbox that no other sample uses."""
        for environment in environments.values():
            own = environment.as_type(cls)
            try:
                await own._session.close()
            finally:
                if own._key:
                    await _boxes.leave(own._key)

    @classmethod
    def config_files(cls) -> list[str]:
        """A policy file beside the task is found by itself."""
        return ["cellblock-policy.toml"]

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """The policy whose fields a log has."""
        return Policy.model_validate(config)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command in the session's jail. Raises what the package's own sandboxes raise."""
        if user is not None:
            raise SandboxUserUnsupportedError(
                f"A session has one user, so nothing can be run as {user!r}; leave `user` out."
            )
        try:
            result = await self._session.exec(
                cmd, cwd=cwd, env=env, stdin=input, timeout_s=timeout or TIMEOUT_S
            )
        except SessionError as error:
            raise SandboxUnavailableError(str(error)) from error
        if result.timed_out:
            raise TimeoutError(f"The command was ended after {timeout} s.")
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        cuts = result.truncated.stdout, result.truncated.stderr
        if result.limit or any(cut.kept_bytes + cut.dropped_bytes > limit for cut in cuts):
            raise OutputLimitExceededError(
                limit_str=SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR,
                truncated_output=_text(result.stdout[:limit]),
            )
        status = status_of(result)
        if status == NOT_EXECUTABLE and DENIED in result.stderr:
            raise PermissionError(errno.EACCES, "Permission denied", cmd[0])
        return ExecResult(status == 0, status, _text(result.stdout), _text(result.stderr))

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file with the directories above it. Raises OSError, as open() would."""
        try:
            # One that may not be written to is not replaced either, as with a shell's `>`.
            if not (await self._session.stat(file)).mode & 0o200:
                raise PermissionError(errno.EACCES, "Permission denied", file)
        except FileNotThere:
            pass
        except FileRefused as error:
            raise _os_error(error, file) from error
        try:
            await self._session.put(file, contents)
        except FileRefused as error:
            raise _os_error(error, file) from error

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """Read a file. Raises OSError as open() would, OutputLimitExceededError."""
        try:
            if (await self._session.stat(file)).size_bytes > (
                SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
            ):
                raise OutputLimitExceededError(
                    limit_str=SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR,
                    truncated_output=None,
                )
            data = await self._session.get(file)
        except FileNotPermitted:
            data = await self._read_as_command(file)
        except FileRefused as error:
            raise _os_error(error, file) from error
        return data.decode() if text else data

    async def _read_as_command(self, file: str) -> bytes:
        """A file outside of what a session may write to: what a command of it may read."""
        result = await self._session.exec(["cat", "--", file], timeout_s=TIMEOUT_S)
        if result.truncated.stdout.dropped_bytes or result.limit:
            raise OutputLimitExceededError(
                limit_str=SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, truncated_output=None
            )
        for number in (errno.ENOENT, errno.EISDIR):
            if os.strerror(number).encode() in result.stderr:
                raise OSError(number, os.strerror(number), file)
        if result.exit_code != 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
        return result.stdout


def _policy(config: SandboxEnvironmentConfigType | None) -> Policy:
    """The policy that a task asks for, with room for the output that the package hands on."""
    if isinstance(config, Policy):
        policy = config
    elif isinstance(config, BaseModel):
        raise TypeError(
            f"The configuration is a {type(config).__name__}; cellblock takes a Policy, the name of"
            f" a profile ({', '.join(PROFILES)}) or a policy file."
        )
    elif config is None or config in PROFILES:
        policy = Policy.profile(config or PROFILE)
    else:
        policy = Policy.from_toml(config)
    limits = policy.limits
    kept = 2 * SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
    if limits.kept_bytes >= kept:
        return policy
    roomier = limits.model_copy(
        update={"kept_bytes": kept, "output_bytes": max(limits.output_bytes, kept)}
    )
    return policy.model_copy(update={"limits": roomier})


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _os_error(error: FileRefused, file: str) -> OSError:
    """The refusal as the operating system has it; the message names the file."""
    match error:
        case FileNotThere() | FileNotDirectory():
            number = errno.ENOENT
        case FileIsDirectory():
            number = errno.EISDIR
        case FileNotPermitted():
            number = errno.EACCES
        case NoRoomForFile():
            number = errno.ENOSPC
        case _:
            return OSError(errno.EINVAL, error.reason, file)
    return OSError(number, os.strerror(number), file)  # OSError picks the subclass by the number.
