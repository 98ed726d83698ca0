"""One run of LibreChat's: its files laid, its program run, what it made kept for the key."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from runner.errors import RequestError
from runner.evals.run_code import command_result, program_result
from runner.evals.run_code_wire import CommandRunResult, read_within
from runner.server.accounts import Account
from runner.server.services import Services
from runner.server.store.records import ContainerFile, ContainerRow
from runner.transcript import encodable
from sandbox import AsyncSession, FileRefused, Limits, Outcome, SandboxError

CODE_CHARS = 1_000_000
FILES_MOST = 100
NAME_CHARS = 1000
ARGUMENTS_MOST = 100
LANGUAGES = {"py": ".py", "python": ".py", "bash": ".sh", "sh": ".sh"}
NAME = "librechat"
LATE = "Time limit exceeded\n"


class FileRef(BaseModel):
    """A file of an earlier run or upload."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(max_length=NAME_CHARS)
    name: str = Field(max_length=NAME_CHARS)
    storage_session_id: str = Field(max_length=NAME_CHARS)


class ExecRequest(BaseModel):
    """A program. What else clients send (users, hints for warm machines) changes nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    lang: str
    code: str = Field(max_length=CODE_CHARS)
    args: list[str] = Field(default=[], max_length=ARGUMENTS_MOST)
    files: list[FileRef] = Field(default=[], max_length=FILES_MOST)


class Laid(NamedTuple):
    """A file that the run began with."""

    ref: FileRef
    path: str
    sha256: str


async def execute(
    services: Services,
    account: Account,
    wanted: ExecRequest,
    *,
    tools: Mapping[str, Callable[..., Any]] | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Run a program and keep what it made. Raises RequestError, StorageError, SandboxError.

    `tools` are functions of the host that a program may call which has no arguments.
    """
    session_id = f"run_{secrets.token_hex(12)}"
    if wanted.lang not in LANGUAGES:
        words = f"The language {wanted.lang[:20]!r} is not supported here, only py and bash.\n"
        return {"session_id": session_id, "stdout": "", "stderr": words}
    found = [(ref, await _kept(services, account, ref)) for ref in wanted.files]
    async with services.slots.for_run(account), services.box.session() as session:
        laid = []
        for ref, file in found:
            await session.put(ref.name, await services.container_store.read(file))
            laid.append(Laid(ref, ref.name, file.sha256))
        if tools is None:
            result = await _run(services, account, session, wanted)
        else:
            outcome = await session.run(
                wanted.code, script=_name(wanted), tools=tools, limits=limits
            )
            result = _noted(services, account, wanted, outcome)
        answer = {
            "session_id": session_id,
            "stdout": result.stdout or "",
            "stderr": _words(result),
        }
        try:
            paths = await session.files()
        except SandboxError:
            # The run took its session with it, and the files.
            return answer
        return answer | await _files(services, account, session, laid, paths)


async def _run(
    services: Services, account: Account, session: AsyncSession, wanted: ExecRequest
) -> CommandRunResult:
    name = _name(wanted)
    if name.endswith(".py") and not wanted.args:
        outcome = await session.run(wanted.code, script=name)
        return _noted(services, account, wanted, outcome)
    await session.put(name, wanted.code)
    program = "python" if name.endswith(".py") else "bash"
    done = await session.exec(
        [program, name, *wanted.args], timeout_s=services.box.policy.limits.wall_s
    )
    services.observer.commanded(done, owner=account.owner, where="", command=wanted.code)
    await session.remove(name)
    return command_result(done)


def _name(wanted: ExecRequest) -> str:
    return f".program-{secrets.token_hex(4)}{LANGUAGES[wanted.lang]}"


def _noted(
    services: Services, account: Account, wanted: ExecRequest, outcome: Outcome
) -> CommandRunResult:
    services.observer.ran(outcome, owner=account.owner, via="program", where="", code=wanted.code)
    return program_result(outcome)


def _words(result: CommandRunResult) -> str:
    """What stderr says; a client has no other way to hear how a program ended."""
    words = result.stderr or ""
    if result.status == "TimeLimitExceeded":
        words += LATE
    elif result.return_code and not words:
        words = f"Exited with code {result.return_code}\n"
    return words


async def _kept(services: Services, account: Account, ref: FileRef) -> ContainerFile:
    file = await services.container_store.file(account.owner, ref.storage_session_id, ref.id)
    if file is None:
        raise RequestError("not_found", f"There is no file {ref.id[:100]!r}.", param="files")
    return file


async def _files(
    services: Services,
    account: Account,
    session: AsyncSession,
    laid: Sequence[Laid],
    paths: Sequence[str],
) -> dict[str, Any]:
    """What became of the files: made or changed ones are kept anew, under ids of their own."""
    before = {one.path: one for one in laid}
    told: list[dict[str, Any]] = []
    row: ContainerRow | None = None
    changed = kept = 0
    for path in paths:
        one = before.get(path)
        if one is None and kept == FILES_MOST:
            changed += 1
            continue
        try:
            data = await read_within(session, path, services.config.server.file_bytes)
        except FileRefused:
            data = None  # The program closed it to others, or took it away since.
        if data is None:
            changed += 1
            continue
        if one is not None and hashlib.sha256(data).hexdigest() == one.sha256:
            told.append(one.ref.model_dump() | {"inherited": True})
            continue
        changed += 1
        if kept < FILES_MOST:
            row = row or await new_storage(services, account)
            file = await services.container_store.write(
                row, encodable(path), data, "assistant", cap_bytes=account.settings.stored_bytes
            )
            told.append(file_ref(file))
            kept += 1
    answer: dict[str, Any] = {"files": told}
    if gone := [path for path in before if path not in set(paths)]:
        answer["deleted_files"] = gone
    if changed > kept:
        answer["artifact_delivery"] = {
            "code": "artifact_delivery_failed",
            "status": "partial",
            "attempted": changed,
            "delivered": kept,
            "failed": changed - kept,
        }
    return answer


async def new_storage(services: Services, account: Account) -> ContainerRow:
    """Make a place for files, which clients call a storage session. Raises StorageError."""
    return await services.containers.create(account, name=NAME)


def file_ref(file: ContainerFile) -> dict[str, Any]:
    """A kept file as clients name it in their next run."""
    return {"id": file.id, "name": file.path, "storage_session_id": file.container_id}
