"""Programs beside the interpreter that a client talks to: their input, their signals."""

import base64
import shlex
from collections.abc import AsyncGenerator, Mapping

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.dialects.faults import fault_of, openai_error
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import pieces_of, read_json
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.http.streaming import StatusLine
from runner.server.live.session_table import Held
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.session_routes import lost
from runner.server.services import Services
from runner.server.session_api.checked import body_of, checked
from runner.server.session_api.using import REFUSALS, in_use, refused
from runner.server.store.ids import new_id
from runner.transcript import compact
from sandbox import AsyncCommand, ExecFinished, ExecResult, PolicyError, SessionError, Stdout

SIGNAL_BYTES = 4096
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))
INPUT_BODY: OpenApi = {
    "requestBody": {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    }
}


class SignalRequest(BaseModel):
    """A signal for a program, and with `tree` for all that descends from it."""

    model_config = ConfigDict(extra="forbid")
    signal: str = Field(default="SIGKILL", max_length=20)
    tree: bool = True


@router.post("/{session_id}/commands/{command_id}/stdin", openapi_extra=INPUT_BODY)
async def write_input(
    session_id: str,
    command_id: str,
    request: Request,
    services: TheServices,
    account: TheAccount,
    close: bool = False,
) -> Response:
    """Write the body to a program's standard input; with `close` it reads the end after that."""
    held = services.sessions.find(account.owner, session_id)
    program = _program(services, held, account, command_id)
    try:
        with in_use(held, account):
            async for piece in pieces_of(request):
                if piece:
                    await program.write(piece)
            if close:
                program.close_stdin()
    except BrokenPipeError as error:
        raise RequestError("conflict", f"{error}.", param="stdin") from error
    except REFUSALS as error:
        await refused(services, held, error)
    return json_reply({"id": command_id, "object": "session.command"})


@router.post("/{session_id}/commands/{command_id}/signal", openapi_extra=body_of(SignalRequest))
async def send_signal(
    session_id: str,
    command_id: str,
    request: Request,
    services: TheServices,
    account: TheAccount,
) -> Response:
    """Send a program a signal."""
    held = services.sessions.find(account.owner, session_id)
    program = _program(services, held, account, command_id)
    wanted = checked(SignalRequest, await read_json(request, SIGNAL_BYTES))
    try:
        program.kill(wanted.signal, tree=wanted.tree)
    except PolicyError as error:
        raise RequestError("invalid", str(error), param="signal") from error
    return json_reply({"id": command_id, "object": "session.command"})


def _program(services: Services, held: Held, account: Account, command_id: str) -> AsyncCommand:
    found = services.sessions.programs.get((account.owner, held.id, command_id))
    if found is None:
        message = f"No command {command_id[:100]!r} runs."
        raise RequestError("not_found", message, param="command")
    return found


# ---- the stream ---------------------------------------------------------------------------------


async def program_events(
    services: Services,
    held: Held,
    account: Account,
    command: str | list[str],
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    stdin: bytes | None,
    timeout_s: float | None,
    status_line: StatusLine,
) -> AsyncGenerator[bytes, None]:
    """Frames of a program as it writes; leaving ends it. Without `stdin` it can be written to."""
    has_begun = False
    key = (account.owner, held.id, new_id("cmd"))
    program: AsyncCommand | None = None
    try:
        with in_use(held, account):
            program = await held.session.popen(command, cwd=cwd, env=env, timeout_s=timeout_s)
            services.sessions.programs[key] = program
            has_begun = True
            yield _frame("started", {"command_id": key[2]})
            if stdin is not None:
                await program.write(stdin)
                program.close_stdin()
            while (event := await program.read_event()) is not None:
                if isinstance(event, ExecFinished):
                    services.observer.commanded(
                        event.result,
                        owner=account.owner,
                        where=held.id,
                        command=command if isinstance(command, str) else shlex.join(command),
                    )
                    yield _frame("finished", exec_json(event.result))
                    return
                name = "stdout" if isinstance(event, Stdout) else "stderr"
                raw = base64.b64encode(event.data).decode()
                yield _frame(name, {"text": event.text, "raw_base64": raw})
            await program.wait()  # It raises what became of the session.
    except SessionError as error:
        refusal = await lost(services.sessions, held, error)
        if not has_begun and not status_line.is_sent:
            raise refusal from error
        told = openai_error(fault_of(refusal))
        yield _frame("error", {name: told[name] for name in ("message", "code", "param")})
    except REFUSALS as error:
        await refused(services, held, error)
    finally:
        services.sessions.programs.pop(key, None)
        if program is not None and program.is_running:
            program.kill()


def _frame(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {compact(data)}\n\n".encode()


def exec_json(done: ExecResult) -> dict[str, object]:
    """How a command ended, as its owner sees it."""
    return {
        "object": "session.exec",
        "exit_code": done.exit_code,
        "signal": done.signal,
        "timed_out": done.timed_out,
        "limit": done.limit,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
        "stdout_base64": base64.b64encode(done.stdout).decode(),
        "stderr_base64": base64.b64encode(done.stderr).decode(),
        "truncated": done.truncated.model_dump(mode="json"),
        "usage": done.usage.model_dump(mode="json"),
    }
