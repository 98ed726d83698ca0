"""E2B's filesystem service over Connect: entries, directories, moves, watchers."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from fastapi import APIRouter, Request
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.e2b.access import TheSandbox, TheSandboxes
from runner.server.e2b.connect_messages import (
    Message,
    first_of,
    flag,
    message_of,
    ping_of,
    text,
    timeout_of,
    user_of,
)
from runner.server.e2b.files import check_user, entries_below, entry_at, move, place_of
from runner.server.e2b.forms import (
    CONNECT_STREAM,
    Missing,
    SandboxGone,
    answer,
    answering,
    as_connect,
    as_stream,
    frame,
)
from runner.server.e2b.sandboxes import E2bSandbox
from runner.server.e2b.streams import Lines, in_use
from runner.server.e2b.watching import LOOK_S, Watcher
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheServices
from sandbox import SessionError

SERVICE = "/filesystem.Filesystem"
Call = Callable[[E2bSandbox, Message], Awaitable[Mapping[str, object]]]
router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_connect))
streams = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_stream))


@streams.post(f"{SERVICE}/WatchDir")
async def watch(request: Request, services: TheServices, sandbox: TheSandbox) -> Response:
    """Stream what changes in a directory until the client leaves."""
    check_user(user_of(request))
    watcher = _watcher(sandbox, await first_of(request))
    frames = _watched(sandbox, watcher, timeout_of(request), ping_of(request))
    return Lines(request, frames, services.streams, as_stream, media_type=CONNECT_STREAM)


@router.post(SERVICE + "/{method}")
async def call(
    method: str,
    request: Request,
    services: TheServices,
    sandbox: TheSandbox,
    sandboxes: TheSandboxes,
) -> Response:
    """Answer one call of the service."""
    found = CALLS.get(method)
    if found is None:
        raise Missing(f"The filesystem service has no {method[:100]!r} here.")
    check_user(user_of(request))
    message = await message_of(request)

    async def make() -> Response:
        with sandbox.account.request(), in_use(sandbox):
            try:
                return json_reply(await found(sandbox, message))
            except SessionError as error:
                await sandboxes.end(sandbox)
                raise SandboxGone(sandbox.id) from error

    return answer(request, services.streams, as_connect, make)


async def _stat(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    path = place_of(text(message, "path"))
    return {"entry": await entry_at(sandbox.held.session, path, sandbox.told)}


async def _list(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    depth = message.get("depth") or 1
    if not isinstance(depth, int) or depth < 1:
        raise RequestError("invalid", "depth: must be at least 1.", param="depth")
    path = place_of(text(message, "path"))
    found = await entries_below(sandbox.held.session, path, depth, sandbox.told)
    return {"entries": found}


async def _make(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    path, session = place_of(text(message, "path")), sandbox.held.session
    await session.mkdir(path, exist_ok=False)
    return {"entry": await entry_at(session, path, sandbox.told)}


async def _move(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    source, target = (place_of(text(message, name)) for name in ("source", "destination"))
    session = sandbox.held.session
    await move(session, source, target, sandbox.told)
    return {"entry": await entry_at(session, target, sandbox.told)}


async def _remove(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    path = place_of(text(message, "path"))
    await sandbox.held.session.remove(path, recursive=True)
    sandbox.told.forget(path)
    return {}


async def _create_watcher(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    return {"watcherId": await sandbox.watchers.add(_watcher(sandbox, message))}


async def _watcher_events(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    watcher = sandbox.watchers.find(text(message, "watcherId"))
    return {"events": await watcher.events(sandbox.told)}


async def _remove_watcher(sandbox: E2bSandbox, message: Message) -> Mapping[str, object]:
    sandbox.watchers.remove(text(message, "watcherId"))
    return {}


CALLS: dict[str, Call] = {
    "Stat": _stat,
    "ListDir": _list,
    "MakeDir": _make,
    "Move": _move,
    "Remove": _remove,
    "CreateWatcher": _create_watcher,
    "GetWatcherEvents": _watcher_events,
    "RemoveWatcher": _remove_watcher,
}


def _watcher(sandbox: E2bSandbox, message: Message) -> Watcher:
    """A watcher of the directory that is asked for. There are no network mounts to leave out."""
    return Watcher(
        sandbox.held.session,
        place_of(text(message, "path")),
        recursive=flag(message, "recursive"),
        with_entries=flag(message, "includeEntry"),
    )


async def _watched(
    sandbox: E2bSandbox, watcher: Watcher, timeout_s: float | None, ping_s: float
) -> AsyncGenerator[bytes, None]:
    with sandbox.account.request(), in_use(sandbox):
        await watcher.begin()
        yield frame({"start": {}})
        began = told = time.monotonic()
        while timeout_s is None or time.monotonic() - began < timeout_s:
            await asyncio.sleep(LOOK_S)
            try:
                events = await watcher.events(sandbox.told)
            except SessionError:
                yield frame({"error": gone(sandbox.id)}, is_end=True)
                return
            for event in events:
                yield frame({"filesystem": event})
            if events:
                told = time.monotonic()
            elif time.monotonic() - told > ping_s:
                told = time.monotonic()
                yield frame({"keepalive": {}})
    late = {"code": "deadline_exceeded", "message": "The time for watching is over."}
    yield frame({"error": late}, is_end=True)


def gone(sandbox_id: str) -> dict[str, str]:
    """The error of a stream whose sandbox was ended under it."""
    message = f"the connection to sandbox {sandbox_id} ended before the stream completed"
    return {"code": "unavailable", "message": message}
