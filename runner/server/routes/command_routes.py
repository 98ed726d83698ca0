"""Commands, values and packages of sessions over REST."""

import base64
import shlex
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.responses import Response

from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.http.streaming import Answer
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.session_routes import lost
from sandbox import ExecResult, PackagesNotInstalled, PolicyError, SessionError, ValueNotCarried

COMMAND_CHARS = 100_000
INSTALL_BYTES = 64 * 1024
INSTALL_S = 300.0
T = TypeVar("T", bound=BaseModel)
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


class ValueRequest(BaseModel):
    """A value: JSON, or Base64 of bytes with `is_base64`."""

    model_config = ConfigDict(extra="forbid")
    value: JsonValue
    is_base64: bool = False


EXEC_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ExecRequest.model_json_schema()}},
    }
}
VALUE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"value": {}, "is_base64": {"type": "boolean"}},
                    "required": ["value"],
                }
            }
        },
    }
}


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


@router.post("/{session_id}/exec", openapi_extra=EXEC_BODY)
async def run_command(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Run a command beside the interpreter; its streams come as text, or Base64 beside it."""
    held = services.sessions.find(account.owner, session_id)
    body = await read_json(request, services.config.server.body_bytes)
    wanted = _checked(ExecRequest, body)
    longest = services.box.policy.limits.wall_s
    stdin = _bytes(wanted.stdin, is_base64=wanted.stdin_base64)

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
        return json_reply(_exec_json(done))

    return Answer(make, services.streams)


@router.get("/{session_id}/values/{name}")
async def get_value(
    session_id: str, name: str, services: TheServices, account: TheAccount
) -> Response:
    """Return the value of a variable: JSON, or bytes as Base64."""
    held = services.sessions.find(account.owner, session_id)
    try:
        value = await held.session.get_value(name)
    except ValueNotCarried as error:
        raise RequestError("not_found", str(error), param="name") from error
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    if isinstance(value, bytes):
        text = base64.b64encode(value).decode()
        return json_reply({"name": name, "value": text, "is_base64": True})
    try:
        return json_reply({"name": name, "value": value, "is_base64": False})
    except TypeError:
        message = f"{name} is a {type(value).__name__}, which JSON has not."
        raise RequestError("invalid", message, param="name") from None


@router.put("/{session_id}/values/{name}", openapi_extra=VALUE_BODY)
async def put_value(
    session_id: str, name: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Set a variable."""
    held = services.sessions.find(account.owner, session_id)
    wanted = _checked(ValueRequest, await read_json(request, services.config.server.body_bytes))
    value: object = wanted.value
    if wanted.is_base64:
        value = _bytes(wanted.value if isinstance(wanted.value, str) else "", is_base64=True)
    try:
        await held.session.set(**{name: value})
    except ValueNotCarried as error:
        raise RequestError("invalid", str(error), param="name") from error
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply({"name": name, "object": "session.value"})


def _exec_json(done: ExecResult) -> dict[str, object]:
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


def _bytes(text: str | None, *, is_base64: bool) -> bytes:
    if text is None:
        return b""
    if not is_base64:
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise RequestError("invalid", f"No Base64: {error}.") from None


def _checked(kind: type[T], body: JsonValue) -> T:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place or None) from None


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
