"""E2B's process service over Connect: commands started, listened to, fed and ended."""

import asyncio
import shlex
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from fastapi import APIRouter, Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.e2b.access import TheSandbox, TheSandboxes
from runner.server.e2b.commands import Event, Running, Started, events_of
from runner.server.e2b.connect_messages import (
    Message,
    data_of,
    first_of,
    flag,
    inner,
    message_of,
    messages_of,
    ping_of,
    text,
    timeout_of,
    user_of,
)
from runner.server.e2b.contexts import HOME
from runner.server.e2b.files import check_user, place_of
from runner.server.e2b.forms import (
    CONNECT_STREAM,
    Missing,
    SandboxGone,
    answering,
    as_connect,
    as_stream,
    frame,
)
from runner.server.e2b.requests import bounded
from runner.server.e2b.routes.filesystem_routes import gone
from runner.server.e2b.sandboxes import E2bSandbox
from runner.server.e2b.streams import Lines, in_use
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheServices
from runner.server.services import Services
from sandbox import ExecResult, PolicyError, SessionError

SERVICE = "/process.Process"
WORDS_MOST = 1000
OVERTIME_S = 1.0
"""A command whose client left without ending it ends so long after its time."""
SIGNALS = {"SIGNAL_SIGKILL": "SIGKILL", "SIGNAL_SIGTERM": "SIGTERM", 9: "SIGKILL", 15: "SIGTERM"}
NO_PTY = "There are no pseudo-terminals in a sandbox here: run the program with commands.run()."
Call = Callable[[E2bSandbox, Message], Awaitable[Mapping[str, object]]]
router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_connect))
streams = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_stream))


@streams.post(f"{SERVICE}/Start")
async def start(
    request: Request, services: TheServices, sandbox: TheSandbox, sandboxes: TheSandboxes
) -> Response:
    """Start a command, and stream what it writes; it goes on when the client leaves."""
    check_user(user_of(request))
    message = await first_of(request)
    if message.get("pty") is not None:
        raise Missing(NO_PTY)
    started = _started(sandbox, message)
    asked_s = timeout_of(request)

    async def frames() -> AsyncGenerator[bytes, None]:
        ends_at = None if asked_s is None else time.monotonic() + asked_s
        longest_s = services.box.policy.limits.wall_s
        with sandbox.account.request(), in_use(sandbox):
            try:
                running, queue = await sandbox.commands.start(
                    started,
                    sandbox.held,
                    sandbox.told.inside(started.cwd),
                    timeout_s=min(
                        longest_s if asked_s is None else asked_s + OVERTIME_S, longest_s
                    ),
                    on_end=lambda done: _note(services, sandbox, started, done),
                )
            except PolicyError as error:
                raise RequestError("invalid", str(error), param=error.field) from error
            except SessionError as error:
                await sandboxes.end(sandbox)
                raise SandboxGone(sandbox.id) from error
            yield _event({"start": {"pid": running.command.pid}})
            async for one in _listened(
                sandbox, running, queue, ping_s=ping_of(request), ends_at=ends_at, kills=True
            ):
                yield one

    return Lines(request, frames(), services.streams, as_stream, media_type=CONNECT_STREAM)


@streams.post(f"{SERVICE}/Connect")
async def connect(request: Request, services: TheServices, sandbox: TheSandbox) -> Response:
    """Stream what a command that runs writes from now on."""
    check_user(user_of(request))
    running = sandbox.commands.find(inner(await first_of(request), "process"))
    asked_s = timeout_of(request)

    async def frames() -> AsyncGenerator[bytes, None]:
        ends_at = None if asked_s is None else time.monotonic() + asked_s
        with sandbox.account.request(), in_use(sandbox):
            queue = running.listen()
            yield _event({"start": {"pid": running.command.pid}})
            async for one in _listened(
                sandbox, running, queue, ping_s=ping_of(request), ends_at=ends_at, kills=False
            ):
                yield one

    return Lines(request, frames(), services.streams, as_stream, media_type=CONNECT_STREAM)


@streams.post(f"{SERVICE}/StreamInput")
async def stream_input(request: Request, sandbox: TheSandbox) -> Response:
    """Write to a command's standard input as it comes, in order."""
    running: Running | None = None
    with sandbox.account.request(), in_use(sandbox):
        async for message in messages_of(request):
            if (begins := message.get("start")) is not None:
                asked = begins if isinstance(begins, dict) else {}
                running = sandbox.commands.find(inner(asked, "process"))
            elif "data" in message:
                if running is None:
                    raise RequestError("invalid", "The first message has to be `start`.")
                await _write(running, inner(inner(message, "data"), "input"))
    return Response(frame({}) + frame({}, is_end=True), media_type=CONNECT_STREAM)


@router.post(SERVICE + "/{method}")
async def call(method: str, request: Request, sandbox: TheSandbox) -> Response:
    """Answer one call of the service."""
    found = CALLS.get(method)
    if found is None:
        raise Missing(f"The process service has no {method[:100]!r} here.")
    check_user(user_of(request))
    message = await message_of(request)
    with sandbox.account.request(), in_use(sandbox):
        return json_reply(await found(sandbox, message))


async def _list(sandbox: E2bSandbox, _message: Message) -> Mapping[str, object]:
    return {"processes": sandbox.commands.list()}


async def _send_input(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    running = sandbox.commands.find(inner(message, "process"))
    await _write(running, inner(message, "input"))
    return {}


async def _send_signal(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    running = sandbox.commands.find(inner(message, "process"))
    asked = message.get("signal")
    name = SIGNALS.get(asked) if isinstance(asked, str | int) else None
    if name is None:
        raise RequestError("invalid", "signal: SIGTERM or SIGKILL.", param="signal")
    running.command.kill(name)
    if name == "SIGKILL":
        await running.command.kill_and_wait()
    return {}


async def _close_stdin(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    sandbox.commands.find(inner(message, "process")).command.close_stdin()
    return {}


async def _update(_sandbox: E2bSandbox, _message: Message) -> Mapping[str, object]:
    raise Missing(NO_PTY)


CALLS: dict[str, Call] = {
    "List": _list,
    "SendInput": _send_input,
    "SendSignal": _send_signal,
    "CloseStdin": _close_stdin,
    "Update": _update,
}


def _started(sandbox: E2bSandbox, message: Message) -> Started:
    """What is to be started. Raises RequestError."""
    process = inner(message, "process")
    words = process.get("args") or []
    if not isinstance(words, list) or len(words) > WORDS_MOST:
        raise RequestError("invalid", f"args: a list of at most {WORDS_MOST} strings.")
    args = tuple(one for one in words if isinstance(one, str))
    envs = {key: value for key, value in inner(process, "envs").items() if isinstance(value, str)}
    if len(args) != len(words) or len(envs) != len(inner(process, "envs")):
        raise RequestError("invalid", "args and envs: have strings alone.")
    return Started(
        cmd=text(process, "cmd"),
        args=args,
        envs={**sandbox.wanted.envs, **bounded("envs", envs)},
        cwd=place_of(text(process, "cwd") or HOME),
        tag=text(message, "tag") or None,
        has_stdin=flag(message, "stdin", default=True),
    )


async def _write(running: Running, asked: Message) -> None:
    if "pty" in asked:
        raise Missing(NO_PTY)
    if not running.started.has_stdin:
        raise RequestError("conflict", "The command was started without a standard input.")
    try:
        await running.command.write(data_of(asked.get("stdin"), "stdin"))
    except BrokenPipeError as error:
        raise RequestError("conflict", f"{error}.") from None


async def _listened(
    sandbox: E2bSandbox,
    running: Running,
    queue: "asyncio.Queue[Event | None]",
    *,
    ping_s: float,
    ends_at: float | None,
    kills: bool,
) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events_of(queue, ping_s=ping_s, ends_at=ends_at):
            if "end" in event and not sandbox.is_there:
                raise ConnectionError
            yield _event(event)
        yield frame({}, is_end=True)
    except TimeoutError:
        if kills:
            running.command.kill()
        late = {"code": "deadline_exceeded", "message": "The command's time is over."}
        yield frame({"error": late}, is_end=True)
    except ConnectionError:
        yield frame({"error": gone(sandbox.id)}, is_end=True)
    finally:
        running.leave(queue)


def _event(event: Event) -> bytes:
    return frame({"event": event})


def _note(services: Services, sandbox: E2bSandbox, started: Started, done: ExecResult) -> None:
    """Count and write down a command."""
    services.observer.commanded(
        done,
        owner=sandbox.account.owner,
        where=sandbox.held.id,
        command=shlex.join([started.cmd, *started.args]),
    )
