"""Commands and packages of sessions over REST."""

import base64
import shlex

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.http.streaming import Answer, EventStream, StatusLine
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.session_routes import lost
from runner.server.session_api.checked import body_of, checked
from runner.server.session_api.program_routes import exec_json, program_events
from sandbox import PackagesNotInstalled, PolicyError, SessionError

COMMAND_CHARS = 100_000
INSTALL_BYTES = 64 * 1024
INSTALL_S = 300.0
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))


class ExecRequest(BaseModel):
    """A command; a text is for the shell. `stdin` is text, or Base64 with `stdin_base64`."""

    model_config = ConfigDict(extra="forbid")
    command: str | list[str] = Field(max_length=COMMAND_CHARS)
    cwd: str | None = None
    env: dict[str, str] | None = None
    stdin: str | None = None
    stdin_base64: bool = False
    timeout_s: float | None = Field(default=None, gt=0)
    stream: bool = False
    """Answer with events as it writes."""
    interactive: bool = False
    """With `stream`: its input stays open for what is written to `commands/ID/stdin`."""


INSTALL_BODY: OpenApi = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["packages"],
                    "properties": {
                        "packages": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 200,
                            "items": {"type": "string"},
                        }
                    },
                }
            }
        },
    }
}


@router.post("/{session_id}/exec", openapi_extra=body_of(ExecRequest))
async def run_command(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Run a command beside the interpreter; its streams come as text, or Base64 beside it."""
    held = services.sessions.find(account.owner, session_id)
    body = await read_json(request, services.config.server.body_bytes)
    wanted = checked(ExecRequest, body)
    longest = services.box.policy.limits.wall_s
    stdin = _bytes(wanted.stdin, is_base64=wanted.stdin_base64)
    if wanted.interactive and (wanted.stdin is not None or not wanted.stream):
        message = 'interactive goes with "stream": true and without stdin.'
        raise RequestError("invalid", message, param="interactive")
    if wanted.stream:
        status_line = StatusLine()
        timeout_s = min(wanted.timeout_s or longest, longest)
        events = program_events(
            services,
            held,
            account,
            wanted.command,
            cwd=wanted.cwd,
            env=wanted.env,
            stdin=None if wanted.interactive else stdin,
            timeout_s=timeout_s,
            status_line=status_line,
        )
        return EventStream(
            events,
            status_line,
            services.streams,
            heartbeat_s=services.config.server.heartbeat_s,
            headers=account.headers(),
        )

    async def make() -> Response:
        with account.request():
            held.running += 1
            try:
                done = await held.session.exec(
                    wanted.command,
                    cwd=wanted.cwd,
                    env=wanted.env,
                    stdin=stdin,
                    timeout_s=min(wanted.timeout_s or longest, longest),
                )
            except SessionError as error:
                raise await lost(services.sessions, held, error) from error
            except PolicyError as error:
                raise RequestError("invalid", str(error), param=error.field) from error
            finally:
                held.running -= 1
        command = wanted.command
        services.observer.commanded(
            done,
            owner=account.owner,
            where=held.id,
            command=command if isinstance(command, str) else shlex.join(command),
        )
        return json_reply(exec_json(done))

    return Answer(make, services.streams)


def _bytes(text: str | None, *, is_base64: bool) -> bytes:
    if text is None:
        return b""
    if not is_base64:
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise RequestError("invalid", f"No Base64: {error}.") from None


@router.post("/{session_id}/install", openapi_extra=INSTALL_BODY)
async def install_packages(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Lay packages into a session, wheels alone; what was laid, as name==version."""
    held = services.sessions.find(account.owner, session_id)
    packages = Fields(await read_json(request, INSTALL_BYTES)).strings("packages")
    if not services.config.server.install:
        message = "Packages are not installed for clients here: `install = true` under [server]."
        raise RequestError("forbidden", message)

    async def make() -> Response:
        with account.request():
            held.running += 1
            try:
                laid = await held.session.install(packages, timeout_s=INSTALL_S)
            except PolicyError as error:
                raise RequestError("invalid", str(error), param="packages") from error
            except PackagesNotInstalled as error:
                raise _refusal(error) from error
            except SessionError as error:
                raise await lost(services.sessions, held, error) from error
            finally:
                held.running -= 1
        return json_reply(
            {"object": "session.packages", "packages": laid}, headers=account.headers()
        )

    return Answer(make, services.streams)


def _refusal(error: PackagesNotInstalled) -> RequestError:
    """What a client is told; the program's own words may name paths of this machine."""
    words = {
        "not_found": "There is no such package, version or wheel.",
        "no_room": "The session's disk has no room for them.",
        "timeout": "It took too long.",
        "offline": "The package index was not reached.",
    }
    message = f"Packages were not installed. {words.get(error.problem, '')}".strip()
    if error.problem == "no_room":
        return RequestError("file_no_room", message, param="packages")
    return RequestError("conflict", message, param="packages")
