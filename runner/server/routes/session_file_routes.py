"""Files of sessions over REST: of the workspace by relative paths, elsewhere by absolute ones.

An absolute path follows the last slash of the URL whole: `/v1/sessions/ID/files//tmp/a.csv`, or
with its slashes as `%2F`.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Request
from pydantic import JsonValue
from starlette.responses import Response, StreamingResponse

from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.server.http.bodies import pieces_of, read_json
from runner.server.http.downloads import HEADERS
from runner.server.http.openapi_bodies import BYTES, OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.live.session_table import Held
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import FilePath
from runner.server.routes.session_routes import lost
from runner.transcript import encodable
from sandbox import FileStat, NoRoomForFile, SessionError

PATH_CHARS = 8192
BODY_BYTES = 64 * 1024
assert FilePath.regex  # `file_path` in the routes below.
SENT_WHOLE_BYTES = 1024 * 1024
"""Up to this size a file is sent with its length; a longer one as it is read."""
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))


def _body(*required: JsonValue, **more: JsonValue) -> OpenApi:
    path: JsonValue = {"type": "string", "maxLength": PATH_CHARS, "minLength": 1}
    schema: JsonValue = {
        "type": "object",
        "properties": {"path": path, **more},
        "required": list(required),
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


BINARY: OpenApi = {
    "requestBody": {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    }
}


@router.get("/{session_id}/files")
async def list_files(
    session_id: str,
    request: Request,
    services: TheServices,
    account: TheAccount,
    path: str | None = None,
) -> Response:
    """List paths of the workspace's files, or of those below `path`, each with its URL.

    What of a name is no UTF-8 is escaped in `path`, and exact in `url`.
    """
    held = services.sessions.find(account.owner, session_id)
    try:
        paths = await held.session.files(path)
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    data = [
        {"path": encodable(found), "url": _url(request, found), "object": "session.file"}
        for found in paths
    ]
    return json_reply({"object": "list", "data": data})


@router.post("/{session_id}/files/list", openapi_extra=_body())
async def list_directory(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """List what is in a directory, the workspace without `path`: files, directories, links."""
    held = services.sessions.find(account.owner, session_id)
    path = (await _fields(request)).text("path", longest=PATH_CHARS) or "."
    try:
        found = await held.session.list_directory(path)
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply({"object": "list", "data": [stat_json(one) for one in found]})


@router.post("/{session_id}/files/stat", openapi_extra=_body("path"))
async def look_at_file(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Return what is at a path: kind, size, mode, time."""
    held = services.sessions.find(account.owner, session_id)
    path = _wanted_path(await _fields(request))
    try:
        found = await held.session.stat(path)
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply(stat_json(found))


@router.post(
    "/{session_id}/files/mkdir",
    openapi_extra=_body("path", exist_ok={"type": ["boolean", "null"]}),
)
async def make_directory(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Make a directory and those above it; with `exist_ok` false it must not be there."""
    held = services.sessions.find(account.owner, session_id)
    fields = await _fields(request)
    path, exist_ok = _wanted_path(fields), fields.flag("exist_ok")
    try:
        await held.session.mkdir(path, exist_ok=exist_ok is not False)
        found = await held.session.stat(path)
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply(stat_json(found))


@router.put("/{session_id}/files/{path:file_path}", openapi_extra=BINARY)
async def put_file(
    session_id: str, path: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Write the body to a file as it comes, with the directories above it.

    It is in place when it is complete; a body that breaks off leaves what was there before.
    """
    path = _path_of(request)
    held = services.sessions.find(account.owner, session_id)
    most = services.box.policy.limits.workspace_bytes
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise NoRoomForFile(path, f"{length} bytes exceed the disk of {most}")
    size = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in pieces_of(request):
            size += len(piece)
            yield piece

    try:
        with _in_use(held):
            await held.session.put(path, counted())
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply({"path": encodable(path), "object": "session.file", "bytes": size})


@router.get("/{session_id}/files/{path:file_path}", responses=BYTES, response_class=Response)
async def get_file(
    session_id: str, path: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Return the content of a file."""
    path = _path_of(request)
    held = services.sessions.find(account.owner, session_id)
    try:
        found = await held.session.stat(path)
        if found.size_bytes <= SENT_WHOLE_BYTES:
            data = await held.session.get(path)
            return Response(data, media_type="application/octet-stream", headers=HEADERS)
        pieces = held.session.get_stream(path)
        first = await anext(pieces, b"")  # Refused here, it is an answer; later it is cut off.
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error

    async def sent() -> AsyncIterator[bytes]:
        with _in_use(held):
            yield first
            async for piece in pieces:
                yield piece

    return StreamingResponse(sent(), media_type="application/octet-stream", headers=HEADERS)


@router.delete("/{session_id}/files/{path:file_path}")
async def remove_file(
    session_id: str,
    path: str,
    request: Request,
    services: TheServices,
    account: TheAccount,
    recursive: bool = False,
) -> Response:
    """Remove a file, with `recursive` also a directory; it need not be there."""
    path = _path_of(request)
    held = services.sessions.find(account.owner, session_id)
    try:
        with _in_use(held):
            await held.session.remove(path, recursive=recursive)
    except SessionError as error:
        raise await lost(services.sessions, held, error) from error
    return json_reply({"path": encodable(path), "object": "session.file.deleted", "deleted": True})


def stat_json(found: FileStat) -> dict[str, object]:
    """What is at a path as its owner sees it."""
    return {
        "path": encodable(found.path),
        "object": "session.entry",
        "kind": found.kind,
        "size_bytes": found.size_bytes,
        "mode": found.mode,
        "modified_at": found.modified_at,
    }


@contextmanager
def _in_use(held: Held) -> Iterator[None]:
    """Keep the session from being taken for idle."""
    held.running += 1
    try:
        yield
    finally:
        held.running -= 1
        held.active_at = time.monotonic()


async def _fields(request: Request) -> Fields:
    return Fields(await read_json(request, BODY_BYTES))


def _wanted_path(fields: Fields) -> str:
    path = fields.text("path", longest=PATH_CHARS)
    if not path:
        raise RequestError("invalid", "path: is missing.", param="path")
    return path


def _url(request: Request, path: str) -> str:
    return f"{request.url.path}/{quote(os.fsencode(path))}"


def _path_of(request: Request) -> str:
    """Return the path of the file that the URL names, byte for byte; it need not be UTF-8."""
    raw: bytes = request.scope["raw_path"].partition(b"?")[0]
    _, _, name = raw.partition(b"/files/")
    return os.fsdecode(unquote_to_bytes(name))
