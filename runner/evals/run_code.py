"""`POST /run_code`: one program in, how it ended out, as clients of SandboxFusion send and expect.

An ASGI application without a framework, to be mounted or served as it is. Python only: another
language is answered as an error of the sandbox, which is what makes such a client raise.
"""

import base64
import binascii
import json
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runner.asked_limits import within
from runner.errors import RunnerError
from sandbox import (
    AsyncSandbox,
    Died,
    EngineTimeout,
    FileRefused,
    LimitExceeded,
    Limits,
    Outcome,
    PoolFull,
    Raised,
    Refused,
    SandboxError,
)

BODY_CAP_BYTES = 64 * 1024 * 1024
LONGEST_S = 600.0
LANGUAGES = ("python",)
OVERLOADED = 504
"""The status upon which these clients come again; any other is the end of a sample for them."""
KILLED = 128 + signal.SIGKILL
CANNOT_EXECUTE = 126
"""A shell's word for what it may not run."""

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RunStatus = Literal["Finished", "Error", "TimeLimitExceeded"]


class RunCodeRequest(BaseModel):
    """What a client asks. Fields that only other languages use are read and left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    language: str
    compile_timeout: float = 10.0
    run_timeout: float = Field(default=10.0, gt=0, le=LONGEST_S)
    stdin: str | None = None
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []


class CommandRunResult(BaseModel):
    """How one process ended."""

    model_config = ConfigDict(frozen=True)

    status: RunStatus
    execution_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class RunCodeResponse(BaseModel):
    """What a client gets; `Failed` for a program that did not end well, by itself or not."""

    model_config = ConfigDict(frozen=True)

    status: Literal["Success", "Failed", "SandboxError"]
    message: str = ""
    compile_result: CommandRunResult | None = None
    run_result: CommandRunResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, str] = {}


class Overloaded(RunnerError):
    """There is no place to run in now; the same request may well pass later."""


async def run_code(
    box: AsyncSandbox,
    request: RunCodeRequest,
    *,
    on_end: Callable[[Outcome], None] | None = None,
) -> RunCodeResponse:
    """Run one program in a jail of its own; `on_end` is told of its end. Raises Overloaded.

    What the engine fails to do is `SandboxError`, never `Failed`: it says nothing of the program.
    """
    if request.language not in LANGUAGES:
        return RunCodeResponse(
            status="SandboxError",
            message=f"language {request.language!r} is not supported, only {LANGUAGES[0]!r}",
        )
    given = {}
    for path, content in request.files.items():
        try:
            given[path] = base64.b64decode(content or "", validate=True)
        except binascii.Error as error:
            message = f"files: {path!r} is no base64: {error}"
            return RunCodeResponse(status="SandboxError", message=message)
    asked = Limits(wall_s=request.run_timeout, cpu_s=request.run_timeout)
    limits = within(asked, box.policy.limits)
    try:
        async with box.session() as session:
            for path, data in given.items():
                await session.put(path, data)
            outcome = await session.run(request.code, limits=limits, stdin=request.stdin)
            if on_end is not None:
                on_end(outcome)
            files = {}
            for path in request.fetch_files if outcome.state != "lost" else ():
                try:
                    files[path] = base64.b64encode(await session.get(path)).decode()
                except FileRefused:
                    continue  # The program did not make it; the client sees that it is missing.
    except (PoolFull, EngineTimeout) as error:
        raise Overloaded(str(error)) from error
    except SandboxError as error:
        return RunCodeResponse(status="SandboxError", message=str(error))
    result = _result(outcome)
    is_success = result.status == "Finished" and result.return_code == 0
    return RunCodeResponse(
        status="Success" if is_success else "Failed", run_result=result, files=files
    )


def _result(outcome: Outcome) -> CommandRunResult:
    """How a shell would see the program end: its exit code, and the words it would say."""
    status: RunStatus = "Finished"
    code: int | None = 0
    words = ""
    if isinstance(outcome, LimitExceeded):
        if outcome.limit in ("wall_s", "cpu_s"):
            status, code = "TimeLimitExceeded", None
        else:
            code, words = KILLED, f"Killed: over {outcome.limit}\n"
    elif isinstance(outcome, Raised) and outcome.error.exit_code is not None:
        code = outcome.error.exit_code
        words = "" if outcome.error.exit_text is None else f"{outcome.error.exit_text}\n"
    elif isinstance(outcome, Raised):
        code, words = 1, outcome.error.traceback
    elif isinstance(outcome, Died):
        code, words = _after_death(outcome)
    elif isinstance(outcome, Refused):
        code, words = CANNOT_EXECUTE, f"{outcome.reason}\n"
    return CommandRunResult(
        status=status,
        execution_time=outcome.usage.wall_s,
        return_code=code,
        stdout=outcome.stdout,
        stderr=outcome.stderr + words,
    )


def _after_death(outcome: Died) -> tuple[int, str]:
    if outcome.exit_code is not None:
        return outcome.exit_code, ""
    number = getattr(signal.Signals, outcome.signal or "", signal.Signals.SIGKILL)
    return 128 + number, f"{signal.strsignal(number) or outcome.signal}\n"


class RunCodeApp:
    """Serves `POST /run_code` over `box`, which the caller starts and stops."""

    def __init__(self, box: AsyncSandbox) -> None:
        self._box = box

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP exchange, or the server's start and end."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        status, body = await self._answer(scope, receive)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, bytes]:
        if not str(scope["path"]).endswith("/run_code"):
            return _error(404, "there is only /run_code here")
        if scope["method"] != "POST":
            return _error(405, "it must be a POST")
        body = b""
        while True:
            message = await receive()
            part = message.get("body", b"")
            body += part if isinstance(part, bytes) else b""
            if len(body) > BODY_CAP_BYTES:
                return _error(413, f"at most {BODY_CAP_BYTES} bytes fit")
            if not message.get("more_body"):
                break
        try:
            request = RunCodeRequest.model_validate_json(body)
        except ValidationError as error:
            return 422, json.dumps({"detail": json.loads(error.json(include_url=False))}).encode()
        try:
            response = await run_code(self._box, request)
        except Overloaded as error:
            return _error(OVERLOADED, str(error))
        return 200, response.model_dump_json().encode()


def _error(status: int, detail: str) -> tuple[int, bytes]:
    return status, json.dumps({"detail": detail}).encode()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
