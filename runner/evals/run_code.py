"""`POST /run_code` and `/run_jupyter`: as clients of SandboxFusion send and expect.

An ASGI application without a framework, to be mounted or served as it is. Programs are Python,
pytest and shell; another language is answered as an error of the sandbox, which is what makes such
a client raise.
"""

import json
import secrets
import signal
from collections.abc import Awaitable, Callable, MutableMapping

from pydantic import BaseModel, ValidationError

from runner.evals.run_code_wire import (
    BadFiles,
    CommandRunResult,
    OnEnd,
    Overloaded,
    RunCodeRequest,
    RunCodeResponse,
    RunJupyterRequest,
    RunStatus,
    allowed,
    decoded,
    fetched,
    tell_none,
)
from runner.evals.run_jupyter import run_jupyter
from sandbox import (
    AsyncSandbox,
    AsyncSession,
    Completed,
    Died,
    EngineTimeout,
    ExecResult,
    LimitExceeded,
    Limits,
    Outcome,
    PoolFull,
    Raised,
    Refused,
    SandboxError,
)

BODY_CAP_BYTES = 64 * 1024 * 1024
LANGUAGES = ("python", "pytest", "bash")
OVERLOADED = 504
"""The status upon which these clients come again; any other is the end of a sample for them."""
KILLED = 128 + signal.SIGKILL
CANNOT_EXECUTE = 126
"""A shell's word for what it may not run."""
HAS_PYTEST = "__import__('importlib.util').util.find_spec('pytest') is not None"
NO_PYTEST = (
    "pytest is not installed where sessions run: `cellblock env create NAME pytest`, then"
    ' `environment = "NAME"` in the policy'
)
PYTEST = "import sys\nimport pytest\nsys.exit(pytest.main([{path!r}]))\n"
SHELL = (
    # The limit is each process's own, as it is with the original.
    '[ "$2" = 0 ] || ulimit -v "$2" || exit 126\n'
    'if command -v bash >/dev/null; then exec bash "$1"; fi\nexec sh "$1"\n'
)

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def run_code(
    box: AsyncSandbox, request: RunCodeRequest, *, on_end: OnEnd = tell_none
) -> RunCodeResponse:
    """Run one program in a jail of its own; `on_end` is told of its end. Raises Overloaded.

    What the engine fails to do is `SandboxError`, never `Failed`: it says nothing of the program.
    """
    if request.language not in LANGUAGES:
        return RunCodeResponse(
            status="SandboxError",
            message=f"language {request.language!r} is not supported, only {', '.join(LANGUAGES)}",
        )
    limits, message = allowed(request.run_timeout, request, box.policy.limits)
    try:
        given = decoded(request.files)
        async with box.session() as session:
            for path, data in given.items():
                await session.put(path, data)
            if request.language == "bash":
                done = await _shell(session, request, limits)
                on_end(request.code, done)
                result, is_lost = command_result(done), False
            else:
                if request.language == "pytest" and not await _has_pytest(session):
                    return RunCodeResponse(status="SandboxError", message=NO_PYTEST)
                outcome = await _python(session, request, limits)
                on_end(request.code, outcome)
                result, is_lost = program_result(outcome), outcome.state == "lost"
            files = {} if is_lost else await fetched(session, request.fetch_files)
    except (PoolFull, EngineTimeout) as error:
        raise Overloaded(str(error)) from error
    except (SandboxError, BadFiles) as error:
        return RunCodeResponse(status="SandboxError", message=str(error))
    is_success = result.status == "Finished" and result.return_code == 0
    return RunCodeResponse(
        status="Success" if is_success else "Failed",
        message=message,
        run_result=result,
        files=files,
    )


async def _python(session: AsyncSession, request: RunCodeRequest, limits: Limits) -> Outcome:
    """Run a program as the file that it is: it finds itself at `__file__`."""
    code, path = request.code, _own_name(".py")
    await session.put(path, code)
    if request.language == "pytest":
        code, path = PYTEST.format(path=path), _own_name(".py")
    return await session.run(code, script=path, limits=limits, stdin=request.stdin)


async def _has_pytest(session: AsyncSession) -> bool:
    """Whether sessions find the package; asked before any of the client's code runs."""
    outcome = await session.run(HAS_PYTEST)
    return isinstance(outcome, Completed) and outcome.text == "True"


async def _shell(session: AsyncSession, request: RunCodeRequest, limits: Limits) -> ExecResult:
    path = _own_name(".sh")
    await session.put(path, request.code)
    asked_kib = limits.memory_bytes // 1024 if "memory_bytes" in limits.model_fields_set else 0
    return await session.exec(
        ["/bin/sh", "-c", SHELL, "sh", path, str(asked_kib)],
        stdin=request.stdin,
        timeout_s=limits.wall_s,
    )


def _own_name(ending: str) -> str:
    """A name that no file of the request has."""
    return f"tmp{secrets.token_hex(4)}{ending}"


def command_result(done: ExecResult) -> CommandRunResult:
    """How a command ended, as a client reads it."""
    status: RunStatus = "Finished"
    code, words = done.exit_code, ""
    if done.timed_out or done.limit in ("wall_s", "cpu_s"):
        status, code = "TimeLimitExceeded", None
    elif done.limit is not None:
        code, words = KILLED, f"Killed: over {done.limit}\n"
    elif code is None:
        number = getattr(signal.Signals, done.signal or "", signal.Signals.SIGKILL)
        code = 128 + number
    return CommandRunResult(
        status=status,
        execution_time=done.usage.wall_s,
        return_code=code,
        stdout=done.stdout.decode("utf-8", "replace"),
        stderr=done.stderr.decode("utf-8", "replace") + words,
    )


def program_result(outcome: Outcome) -> CommandRunResult:
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


PONG = "pong"
KINDS: dict[str, type[RunCodeRequest | RunJupyterRequest]] = {
    "/run_code": RunCodeRequest,
    "/run_jupyter": RunJupyterRequest,
}


class RunCodeApp:
    """Serves these paths over `box`, which the caller starts and stops."""

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
        path = str(scope["path"])
        if path.endswith("/v1/ping"):
            return 200, json.dumps(PONG).encode()
        kind: type[RunCodeRequest | RunJupyterRequest] | None = next(
            (kind for name, kind in KINDS.items() if path.endswith(name)), None
        )
        if kind is None:
            return _error(404, f"there is only {', '.join(KINDS)} and /v1/ping here")
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
            request = kind.model_validate_json(body)
        except ValidationError as error:
            return 422, json.dumps({"detail": json.loads(error.json(include_url=False))}).encode()
        try:
            response: BaseModel
            if isinstance(request, RunCodeRequest):
                response = await run_code(self._box, request)
            else:
                response = await run_jupyter(self._box, request)
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
