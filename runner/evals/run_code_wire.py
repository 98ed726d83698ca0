"""What clients of SandboxFusion send and get: programs, cells, and how they ended.

Source: the package sandbox-fusion 0.3.7, and SandboxFusion's `/run_code` and `/run_jupyter`.
"""

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from runner.asked_limits import within
from runner.errors import RunnerError
from sandbox import AsyncSession, ExecResult, FileRefused, Limits, Outcome

MiB = 1024 * 1024
LEAST_MEMORY_MIB = 16
MOST_MEMORY_MIB = 2**30
LONGEST_S = 7 * 24 * 3600.0
"""Longer than any policy allows; more is lowered as well."""
CELLS = 1000
FILES = 1000
FETCHED_BYTES = 64 * MiB
"""What an answer carries of files, all together."""
RunStatus = Literal["Finished", "Error", "TimeLimitExceeded"]
Files = dict[str, str | None]


OnEnd = Callable[[str, Outcome | ExecResult], None]
"""Told of each piece of code that has run, and how it ended."""


def tell_none(_code: str, _end: Outcome | ExecResult) -> None:
    """Tell of no end."""


class Asked(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    files: Files = Field(default={}, max_length=FILES)
    """Base64 by path; one without content is passed over."""
    fetch_files: list[str] = Field(default=[], max_length=FILES)
    memory_limit_MB: int = -1
    """Of the program and all it starts; without a positive number it is the policy's."""


class RunCodeRequest(Asked):
    """A program. `compile_timeout` is for languages that are compiled, and so for none here."""

    code: str
    language: str
    compile_timeout: float = 10.0
    run_timeout: float = Field(default=10.0, gt=0)
    stdin: str | None = None


class RunJupyterRequest(Asked):
    """Cells of one notebook. A timeout of 0 is none of its own."""

    cells: list[str] = Field(max_length=CELLS)
    cell_timeout: float = Field(default=0.0, ge=0)
    total_timeout: float = Field(default=45.0, gt=0)
    kernel: Literal["python3"] = "python3"


class CommandRunResult(BaseModel):
    """How one process ended."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    execution_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class CellRunResult(BaseModel):
    """What one cell wrote and showed, and the error that ended it."""

    model_config = ConfigDict(frozen=True)

    stdout: str
    stderr: str
    display: list[dict[str, Any]] = []
    error: list[dict[str, Any]] = []


class Answered(BaseModel):
    """What both kinds of answer have; `Failed` when the client's code did not end well."""

    model_config = ConfigDict(frozen=True)

    status: Literal["Success", "Failed", "SandboxError"]
    message: str = ""
    executor_pod_name: str | None = None
    files: dict[str, str] = {}

    def json_parts(self) -> list[bytes | str]:
        """Its JSON, one part after the other: each file's Base64, of up to 85 MB, by itself."""
        rest = self.model_copy(update={"files": {}}).model_dump_json()
        # In a text both quotes would have a backslash before them.
        head, mark, tail = rest.partition('"files":{}')
        parts: list[bytes | str] = [f"{head}{mark[:-1]}".encode()]
        for number, (path, text) in enumerate(self.files.items()):
            parts += [f'{"," if number else ""}{json.dumps(path)}:"'.encode(), text, b'"']
        return [*parts, f"}}{tail}".encode()]


class RunCodeResponse(Answered):
    """How a program ended."""

    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None


class RunJupyterResponse(Answered):
    """How the cells ended; after a timeout, of those that were begun."""

    driver: CommandRunResult | None = None
    cells: list[CellRunResult] = []


class Overloaded(RunnerError):
    """There is no place to run in now; the same request may well pass later."""


class BadFiles(RunnerError):
    """A file of a request is no Base64, or those that it asks for are too large."""


class Allowed(NamedTuple):
    """What a request may spend, and what has to be said of it."""

    limits: Limits
    message: str


def allowed(timeout_s: float, request: Asked, policy: Limits) -> Allowed:
    """The request's limits under the policy's, which are said where they are lower."""
    words = []
    if timeout_s > policy.wall_s:
        words.append(f"The policy allows {policy.wall_s:g} s of the {timeout_s:g} s asked for.")
    timeout_s = min(timeout_s, LONGEST_S)
    spent: dict[str, Any] = {"wall_s": timeout_s, "cpu_s": timeout_s}
    if request.memory_limit_MB > 0:
        asked = min(request.memory_limit_MB, MOST_MEMORY_MIB) * MiB
        least = LEAST_MEMORY_MIB * MiB
        if asked > policy.memory_bytes:
            allowed_mib = policy.memory_bytes // MiB
            words.append(
                f"The policy allows {allowed_mib} MB of the {request.memory_limit_MB} asked for."
            )
        elif asked < least:
            words.append(f"An interpreter needs {LEAST_MEMORY_MIB} MB: that is the limit.")
        spent["memory_bytes"] = min(max(asked, least), policy.memory_bytes)
    return Allowed(within(Limits(**spent), policy), " ".join(words))


def decoded(files: Files) -> dict[str, bytes]:
    """The files with content. Raises BadFiles."""
    found = {}
    for path, content in files.items():
        if content is None:
            continue
        try:
            found[path] = base64.b64decode("".join(content.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadFiles(f"files: {path!r} is no base64: {error}") from None
    return found


async def fetched(session: AsyncSession, paths: Sequence[str]) -> dict[str, str]:
    """The files that are there; a client sees which ones are missing. Raises BadFiles."""
    files: dict[str, str] = {}
    left_bytes = FETCHED_BYTES
    for path in dict.fromkeys(paths):
        held, encoded = bytearray(), list[str]()
        try:
            async with aclosing(_pieces(session, path)) as pieces:
                async for piece in pieces:
                    left_bytes -= len(piece)
                    if left_bytes < 0:
                        most = f"{FETCHED_BYTES // MiB} MB together"
                        raise BadFiles(f"fetch_files: they have more than {most}")
                    held += piece
                    # Piece by piece: all at once would keep others waiting.
                    whole = len(held) // 3 * 3
                    encoded.append(base64.b64encode(memoryview(held)[:whole]).decode())
                    held = held[whole:]
        except FileRefused:
            continue
        files[path] = "".join([*encoded, base64.b64encode(held).decode()])
    return files


async def read_within(session: AsyncSession, path: str, cap_bytes: int) -> bytes | None:
    """The content of a file; None for one that is larger. Raises FileRefused."""
    data = bytearray()
    async with aclosing(_pieces(session, path)) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > cap_bytes:
                return None
    return bytes(data)


async def _pieces(session: AsyncSession, path: str) -> AsyncGenerator[bytes, None]:
    pieces = session.get_stream(path)
    try:
        async for piece in pieces:
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
