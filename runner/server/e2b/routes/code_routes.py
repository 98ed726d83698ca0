"""E2B's code interpreter: snippets and contexts of a sandbox."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from runner.server.e2b.access import TheSandbox, TheSandboxes
from runner.server.e2b.contexts import HOME, Context
from runner.server.e2b.executions import execution, line_bytes
from runner.server.e2b.forms import SandboxGone, answer, answering, as_text
from runner.server.e2b.requests import Execute, NewContext, bounded, check_language, read
from runner.server.e2b.sandboxes import E2bSandbox, Sandboxes
from runner.server.e2b.streams import Lines, in_use
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheServices
from runner.server.services import Services
from runner.transcript import compact
from sandbox import SessionError

router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_text))


@router.post("/execute")
async def execute(
    request: Request, services: TheServices, sandbox: TheSandbox, sandboxes: TheSandboxes
) -> Response:
    """Run a snippet in a context; its output and results come as lines of JSON."""
    asked = await read(Execute, request, services.config.server.body_bytes)
    check_language(asked.language)
    context = sandbox.contexts.find(asked.context_id or "")
    envs = bounded("env_vars", asked.env_vars)
    frames = _frames(services, sandbox, sandboxes, context, asked.code, envs)
    return Lines(request, frames, services.streams, as_text, media_type="application/json")


async def _frames(
    services: Services,
    sandbox: E2bSandbox,
    sandboxes: Sandboxes,
    context: Context,
    code: str,
    envs: Mapping[str, str],
) -> AsyncGenerator[bytes, None]:
    account, held = sandbox.account, sandbox.held
    lines = execution(held.session, sandbox.contexts, context, code, envs)
    with account.request(), in_use(sandbox):
        try:
            async with aclosing(lines):
                async for line in lines:
                    if isinstance(line, Mapping):
                        yield line_bytes(line)
                    else:
                        services.note_run(line, account, where=held.id, code=code)
        except SessionError as error:
            await sandboxes.end(sandbox)
            raise SandboxGone(sandbox.id) from error


@router.get("/contexts")
async def list_contexts(sandbox: TheSandbox) -> Response:
    """List the sandbox's contexts."""
    data = compact([one.json() for one in sandbox.contexts.list()])
    return Response(data, media_type="application/json")


@router.post("/contexts")
async def create_context(request: Request, services: TheServices, sandbox: TheSandbox) -> Response:
    """Make a context: variables, imports and environment of its own over the same files."""
    asked = await read(NewContext, request)
    check_language(asked.language)

    async def make() -> Response:
        with sandbox.account.request(), in_use(sandbox):
            made = await sandbox.contexts.add(asked.cwd or HOME)
        return json_reply(made.json())

    return answer(request, services.streams, as_text, make)


@router.post("/contexts/{context_id}/restart")
async def restart_context(
    context_id: str, request: Request, services: TheServices, sandbox: TheSandbox
) -> Response:
    """Let a context begin anew, without its variables."""
    found = sandbox.contexts.find(context_id)

    async def make() -> Response:
        with sandbox.account.request(), in_use(sandbox):
            await sandbox.contexts.restart(found)
        return PlainTextResponse("null", media_type="application/json")

    return answer(request, services.streams, as_text, make)


@router.delete("/contexts/{context_id}")
async def remove_context(
    context_id: str, request: Request, services: TheServices, sandbox: TheSandbox
) -> Response:
    """Forget a context with its variables."""
    found = sandbox.contexts.find(context_id)

    async def make() -> Response:
        with sandbox.account.request(), in_use(sandbox):
            await sandbox.contexts.remove(found)
        return PlainTextResponse("null", media_type="application/json")

    return answer(request, services.streams, as_text, make)
