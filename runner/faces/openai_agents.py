"""OpenAI's Agents SDK: sessions as the sandboxes of a `SandboxAgent`, or behind a `ShellTool`.

The hosted `CodeInterpreterTool` needs none of this: it works through `cellblock serve`.
Source: the package openai-agents, `tool.py`, `sandbox/session/` and `sandbox/sandboxes/docker.py`.
"""

import asyncio
import io
import tarfile
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from agents import ShellCallOutcome, ShellCommandOutput, ShellCommandRequest, ShellResult
from agents.sandbox import Manifest
from agents.sandbox.errors import (
    ConfigurationError,
    ErrorCode,
    ExecNonZeroError,
    ExecTimeoutError,
    ExecTransportError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
)
from agents.sandbox.files import FileEntry
from agents.sandbox.session import (
    BaseSandboxClient,
    BaseSandboxClientOptions,
    BaseSandboxSession,
    Instrumentation,
    SandboxSession,
    SandboxSessionState,
)
from agents.sandbox.session.workspace_payloads import coerce_write_payload
from agents.sandbox.snapshot import SnapshotBase, SnapshotSpec, resolve_snapshot
from agents.sandbox.types import ExecResult, User
from agents.sandbox.util.parse_utils import parse_ls_la
from agents.sandbox.util.tar_utils import UnsafeTarMemberError, validate_tarfile

from runner.faces.shell import shown, status_of
from sandbox import AsyncSandbox, AsyncSession, FileNotThere, SandboxError
from sandbox import ExecResult as Done

SHOWN_CHARS = 30_000
WORKSPACES = ("/workspace", "/mnt/data")
"""Roots that a manifest may name; the first is the package's own."""
IN_MEMORY_BYTES = 16 * 1024 * 1024
"""More of a file or an archive is held on the host's disk."""
PIECE_BYTES = 1024 * 1024
ARCHIVE_BYTES = 4 * 1024 * 1024 * 1024
ARCHIVE_MEMBERS = 100_000
ARCHIVE_TIMEOUT_S = 600.0
SHOWN_OF_ERROR = 2000
PACK = """
import os, sys, tarfile, tempfile
left_out = sys.argv[1:]
file, path = tempfile.mkstemp(prefix=".", suffix=".tar")
print(path, flush=True)
def keep(member):
    name = os.path.normpath(member.name)
    packed.inodes.clear()
    if any(name == one or name.startswith(one + "/") for one in left_out):
        return None
    if not (member.isreg() or member.isdir() or member.issym()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
with os.fdopen(file, "wb") as target, tarfile.open(fileobj=target, mode="w") as packed:
    packed.add(".", filter=keep)
"""
"""Writes the working directory to an archive, whose path it prints.

A file of several names is written once for each of them.
"""
UNPACK = """
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as packed:
    packed.extractall(".", filter="tar")
"""


def shell_executor(
    session: AsyncSession, *, shown_chars: int = SHOWN_CHARS
) -> Callable[[ShellCommandRequest], Awaitable[ShellResult]]:
    """What `ShellTool(executor=...)` is given: the commands of a call run one after the other.

    The first that runs out of time is the last. Raises SandboxError when the session is gone.
    """

    async def execute(request: ShellCommandRequest) -> ShellResult:
        action = request.data.action
        timeout_s = None if action.timeout_ms is None else action.timeout_ms / 1000
        most = min(action.max_output_length or shown_chars, shown_chars)
        output = []
        for command in action.commands:
            done = await session.exec(command, timeout_s=timeout_s)
            is_late = done.timed_out
            outcome = ShellCallOutcome(
                type="timeout" if is_late else "exit",
                exit_code=None if is_late else status_of(done),
            )
            stderr = shown(done.stderr.decode("utf-8", "replace"), most) + _notice(done).decode()
            output.append(
                ShellCommandOutput(
                    stdout=shown(done.text, most), stderr=stderr, outcome=outcome, command=command
                )
            )
            if is_late:
                break
        return ShellResult(output=output, max_output_length=action.max_output_length)

    return execute


# ---- sandboxes ----------------------------------------------------------------------------------


class CellblockSandboxOptions(BaseSandboxClientOptions):
    """Options of a new session, of which there are none: the policy is that of the sandbox."""

    type: Literal["cellblock"] = "cellblock"


class CellblockSandboxState(SandboxSessionState):
    """What is kept of a session from run to run; its `session_id` finds it while it lives."""

    type: Literal["cellblock"] = "cellblock"


class CellblockSandboxClient(BaseSandboxClient[CellblockSandboxOptions | None]):
    """The sessions of a sandbox: `RunConfig(sandbox=SandboxRunConfig(client=this))`.

    A session lives until `delete`, which the runner calls for those it made, or the sandbox's
    close. A resumed one that is gone begins anew from its snapshot.
    """

    backend_id = "cellblock"
    supports_default_options = True

    def __init__(
        self, box: AsyncSandbox, *, instrumentation: Instrumentation | None = None
    ) -> None:
        self._box = box
        self._instrumentation = instrumentation
        self._sessions: dict[uuid.UUID, AsyncSession] = {}

    async def create(
        self,
        *,
        snapshot: SnapshotSpec | SnapshotBase | None = None,
        manifest: Manifest | None = None,
        options: CellblockSandboxOptions | None = None,
    ) -> SandboxSession:
        """Open a session. Raises ConfigurationError for a manifest that it cannot have."""
        manifest = self._checked(manifest if manifest is not None else Manifest())
        if manifest.root not in WORKSPACES:
            raise _refusal(f"has the root {manifest.root!r}", f"leave it at {WORKSPACES[0]!r}")
        session_id = uuid.uuid4()
        session, root = await self._open(session_id)
        state = CellblockSandboxState(
            session_id=session_id,
            manifest=manifest.model_copy(update={"root": root}, deep=True),
            snapshot=resolve_snapshot(snapshot, str(session_id)),
        )
        return self._wrapped(state, session, is_kept=False)

    async def resume(self, state: SandboxSessionState) -> SandboxSession:
        """Go on in the session of a state, or in a new one that its snapshot is put into."""
        if not isinstance(state, CellblockSandboxState):
            raise TypeError(f"{type(state).__name__} is no state of {type(self).__name__}")
        state.assert_path_grants_rebound()
        manifest = self._checked(state.manifest)
        known = self._sessions.get(state.session_id)
        if known is not None and known.is_live:
            return self._wrapped(state, known, is_kept=True)
        session, root = await self._open(state.session_id)
        state.manifest = manifest.model_copy(update={"root": root}, deep=True)
        state.workspace_root_ready = False
        return self._wrapped(state, session, is_kept=False)

    async def delete(self, session: SandboxSession) -> SandboxSession:
        """End a session, with its files."""
        inner = session._inner
        if not isinstance(inner, CellblockSandboxSession):
            raise TypeError(f"{type(inner).__name__} is no session of {type(self).__name__}")
        live = self._sessions.pop(inner.state.session_id, None)
        if live is not None:
            await live.close()
        return session

    def deserialize_session_state(self, payload: dict[str, object]) -> SandboxSessionState:
        """The state that `serialize_session_state` wrote."""
        return self._deserialize_session_state_payload(payload, CellblockSandboxState)

    def _checked(self, manifest: Manifest) -> Manifest:
        """The manifest. Raises ConfigurationError for what a session cannot have."""
        manifest = self._validate_manifest_for_create(manifest)
        if manifest.users or manifest.groups:
            raise _refusal("has users or groups", "a session has one user, whom commands run as")
        if any(True for _ in manifest.mount_targets()):
            raise _refusal("has mounts", "name host directories in Policy(mounts=...)")
        if any(one.read_only or one.host_path is not None for one in manifest.extra_path_grants):
            raise _refusal("grants paths of the host", "name them in Policy(mounts=...)")
        return manifest

    async def _open(self, session_id: uuid.UUID) -> tuple[AsyncSession, str]:
        """A new session, and the path that its workspace has for its commands."""
        session = await self._box.session()
        try:
            # Without a mount namespace it is a directory of the host.
            where = await session.exec(["pwd"])
        except BaseException:
            await session.close()
            raise
        self._sessions[session_id] = session
        return session, where.text.strip()

    def _wrapped(
        self, state: CellblockSandboxState, session: AsyncSession, *, is_kept: bool
    ) -> SandboxSession:
        inner = CellblockSandboxSession(state, session)
        inner._set_start_state_preserved(is_kept)
        return self._wrap_session(inner, instrumentation=self._instrumentation)


class CellblockSandboxSession(BaseSandboxSession):
    """A session as the package's runner has it; made by `CellblockSandboxClient`.

    Paths are checked by their names; the session's own jail holds what links lead to.
    """

    state: CellblockSandboxState

    def __init__(self, state: CellblockSandboxState, session: AsyncSession) -> None:
        self.state = state
        self._session = session
        self._is_started = False

    async def running(self) -> bool:
        """Whether it was started and its session lives."""
        return self._is_started and self._session.is_live

    async def read(self, path: Path, *, user: str | User | None = None) -> io.IOBase:
        """The content of a file. Raises WorkspaceReadNotFoundError, WorkspaceArchiveReadError."""
        _check_user(user)
        place = await self._validate_path_access(path)
        with ExitStack() as stack, _told_as_unread(path):
            content = stack.enter_context(_new_file())
            await self._session.get_to(place.as_posix(), content)
            content.seek(0)
            stack.pop_all()
            return content

    async def write(self, path: Path, data: io.IOBase, *, user: str | User | None = None) -> None:
        """Write a file, with the directories above it. Raises WorkspaceArchiveWriteError."""
        _check_user(user)
        place = await self._validate_path_access(path, for_write=True)
        try:
            await self._session.put(
                place.as_posix(), coerce_write_payload(path=path, data=data).stream
            )
        except SandboxError as error:
            raise _unwritten(place, str(error), error) from error

    async def ls(self, path: Path | str, *, user: str | User | None = None) -> list[FileEntry]:
        """List a directory. Raises ExecNonZeroError; ExecTransportError where it is too long."""
        place = (await self._validate_path_access(path)).as_posix()
        command = ("ls", "-la", "--", place)
        result = await self.exec(*command, shell=False, user=user)
        if not result.ok():
            raise ExecNonZeroError(result, command=command)
        if isinstance(result, _CutResult):
            raise ExecTransportError(command=command, message=f"{place} has too many entries")
        entries: list[FileEntry] = parse_ls_la(result.stdout.decode("utf-8", "replace"), base=place)
        return entries

    async def persist_workspace(self) -> io.IOBase:
        """The workspace as a tar archive. Raises WorkspaceArchiveReadError.

        The session makes it in its `/tmp`, so its disk must have room for it. Sockets, pipes and
        what the manifest calls ephemeral are left out.
        """
        root = self._workspace_root_path()
        left_out = sorted(one.as_posix() for one in self._persist_workspace_skip_relpaths())
        with ExitStack() as stack, _told_as_unread(root):
            archive = stack.enter_context(_new_file())
            done = await self._session.exec(
                ["python", "-I", "-c", PACK, *left_out], timeout_s=ARCHIVE_TIMEOUT_S
            )
            # The session's word, which reaches none but its own files.
            target = done.text.strip()
            try:
                if done.exit_code != 0:
                    raise WorkspaceArchiveReadError(
                        path=root, context={"reason": _last_line(done.stderr)}
                    )
                await self._session.get_to(target, archive)
            finally:
                if target and self._session.is_live:
                    await self._session.remove(target)
            archive.seek(0)
            stack.pop_all()
            return archive

    async def hydrate_workspace(self, data: io.IOBase) -> None:
        """Lay an uncompressed tar archive into the workspace. Raises WorkspaceArchiveWriteError.

        Its names, kinds and number of members are checked on the host; the session unpacks it.
        """
        root = self._workspace_root_path()
        with _new_file() as archive:
            try:
                await asyncio.to_thread(_take_archive, data, archive)
            except UnsafeTarMemberError as error:
                raise _unwritten(root, f"{error.member}: {error.reason}", error) from error
            except (tarfile.TarError, _ArchiveRefused) as error:
                raise _unwritten(root, str(error), error) from error
            try:
                await self._unpack(archive, root)
            except SandboxError as error:
                raise _unwritten(root, str(error), error) from error

    async def _unpack(self, archive: Any, root: Path) -> None:
        command = await self._session.popen(
            ["python", "-I", "-c", UNPACK], timeout_s=ARCHIVE_TIMEOUT_S
        )
        try:
            with suppress(BrokenPipeError):  # It ended: its result says why.
                while piece := await asyncio.to_thread(archive.read, PIECE_BYTES):
                    await command.write(piece)
            command.close_stdin()
            done = await command.wait()
        finally:
            if command.is_running:
                await command.kill_and_wait()
        if done.exit_code != 0:
            raise _unwritten(root, _last_line(done.stderr), None)

    async def _exec_internal(
        self, *command: str | Path, timeout: float | None = None
    ) -> ExecResult:
        words = [str(word) for word in command]
        try:
            done = await self._session.exec(
                words,
                cwd=self.state.manifest.root,
                env=await self.state.manifest.environment.resolve(),
                timeout_s=timeout,
            )
        except SandboxError as error:
            raise ExecTransportError(command=command, cause=error, message=str(error)) from error
        if done.timed_out:
            raise ExecTimeoutError(command=command, timeout_s=timeout)
        notice = _notice(done)
        kind = _CutResult if notice else ExecResult
        return kind(stdout=done.stdout, stderr=done.stderr + notice, exit_code=status_of(done))

    def _prepare_exec_command(
        self, *command: str | Path, shell: bool | list[str], user: str | User | None
    ) -> list[str]:
        _check_user(user)
        words: list[str] = super()._prepare_exec_command(*command, shell=shell, user=None)
        return words

    async def _validate_path_access(self, path: Path | str, *, for_write: bool = False) -> Path:
        policy = self._workspace_path_policy()
        return Path(policy.normalize_sandbox_path(path, for_write=for_write))

    async def _read_bounded(self, path: Path, *, max_bytes: int) -> bytes:
        place = await self._validate_path_access(path)
        content = bytearray()
        with _told_as_unread(path):
            async for piece in self._session.get_stream(place.as_posix()):
                content += piece[: max_bytes - len(content)]
                if len(content) >= max_bytes:
                    break
        return bytes(content)

    async def _after_start(self) -> None:
        self._is_started = True

    async def _after_shutdown(self) -> None:
        self._is_started = False


class _CutResult(ExecResult):
    """Of a command of whose output some was left out."""


class _ArchiveRefused(Exception):
    """An archive has more than is taken."""


def _new_file() -> "tempfile.SpooledTemporaryFile[bytes]":
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)


def _take_archive(data: io.IOBase, archive: Any) -> None:
    """Copy an archive and check it. Raises what tells why it is not taken."""
    size = 0
    while piece := data.read(PIECE_BYTES):
        if not isinstance(piece, bytes | bytearray):
            raise _ArchiveRefused(f"it gives {type(piece).__name__}, not bytes")
        size += len(piece)
        if size > ARCHIVE_BYTES:
            raise _ArchiveRefused(f"it has more than {ARCHIVE_BYTES} bytes")
        archive.write(piece)
    archive.seek(0)
    # Plain tar alone: what is compressed has no bound before it is unpacked.
    with tarfile.open(fileobj=archive, mode="r:") as packed:
        for number, _ in enumerate(packed, start=1):
            if number > ARCHIVE_MEMBERS:
                raise _ArchiveRefused(f"it has more than {ARCHIVE_MEMBERS} members")
        validate_tarfile(packed)
    archive.seek(0)


def _notice(done: Done) -> bytes:
    """What is told at the end of stderr where the streams are not whole."""
    cut = done.truncated
    told = []
    if done.limit:
        told.append(f"[Ended: more than {done.limit} allows.]\n")
    if left_out := cut.stdout.dropped_bytes + cut.stderr.dropped_bytes:
        told.append(
            f"[{left_out} bytes were left out of the middle. Write to a file to have all.]\n"
        )
    return "".join(told).encode()


def _last_line(stderr: bytes) -> str:
    """What a traceback says last."""
    text = stderr.decode("utf-8", "replace").strip()
    return text.rpartition("\n")[2][:SHOWN_OF_ERROR] or "it was ended"


def _check_user(user: str | User | None) -> None:
    if user is not None:
        raise _refusal("is asked to act as another user", "a session has one: leave `run_as` out")


def _refusal(what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        message=f"The sandbox {what}; {remedy}.",
        error_code=ErrorCode.SANDBOX_CONFIG_INVALID,
        op="start",
        context={"backend": CellblockSandboxClient.backend_id},
    )


@contextmanager
def _told_as_unread(path: Path) -> Iterator[None]:
    """Raise the package's error for what could not be read."""
    try:
        yield
    except FileNotThere as error:
        raise WorkspaceReadNotFoundError(path=path, cause=error) from error
    except SandboxError as error:
        raise WorkspaceArchiveReadError(
            path=path, context={"reason": str(error)}, cause=error
        ) from error


def _unwritten(path: Path, reason: str, cause: BaseException | None) -> WorkspaceArchiveWriteError:
    return WorkspaceArchiveWriteError(
        path=path,
        context={"reason": reason},
        cause=cause,
        message=f"failed to write {path}: {reason}",
    )
