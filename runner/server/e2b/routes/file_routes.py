"""E2B's files over HTTP, and whether a sandbox is there."""

import posixpath
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from runner.errors import RequestError
from runner.server.e2b.access import SANDBOX_ID, TheSandbox, TheSandboxes, TheSigned
from runner.server.e2b.files import check_user, place_of
from runner.server.e2b.forms import SandboxGone, answering, as_json
from runner.server.e2b.sandboxes import E2bSandbox
from runner.server.e2b.streams import in_use
from runner.server.e2b.uploads import take_form, take_one
from runner.server.http.downloads import HEADERS
from runner.transcript import compact
from sandbox import FileIsDirectory, SessionError

SENT_WHOLE_BYTES = 1024 * 1024
METADATA = "x-metadata-"
METADATA_BYTES = 4096
KEY_BYTES = 246
router = APIRouter(prefix="/e2b", include_in_schema=False, route_class=answering(as_json))
signed = APIRouter(include_in_schema=False, route_class=answering(as_json))
"""What a signed URL leads to: clients keep nothing of a prefix in one."""


@router.get("/health")
async def health(request: Request, sandboxes: TheSandboxes) -> Response:
    """Say whether the sandbox runs."""
    sandbox_id = request.headers.get(SANDBOX_ID, "")
    if not sandboxes.is_running(sandbox_id):
        raise SandboxGone(sandbox_id)
    return Response(status_code=204)


@router.get("/files")
async def download(sandbox: TheSandbox, path: str = "", username: str = "") -> Response:
    """Return the content of a file."""
    return await _content(sandbox, path, username)


@router.post("/files")
async def upload(
    request: Request, sandbox: TheSandbox, path: str = "", username: str = ""
) -> Response:
    """Write files, with the directories above them."""
    return await _written(request, sandbox, path, username)


@signed.get("/files")
async def download_signed(sandbox: TheSigned, path: str = "", username: str = "") -> Response:
    """Return the content of a file, by its signed URL."""
    return await _content(sandbox, path, username)


@signed.post("/files")
async def upload_signed(
    request: Request, sandbox: TheSigned, path: str = "", username: str = ""
) -> Response:
    """Write a file, by its signed URL."""
    return await _written(request, sandbox, path, username)


async def _content(sandbox: E2bSandbox, path: str, username: str) -> Response:
    check_user(username)
    place, session = place_of(path), sandbox.held.session
    with in_use(sandbox):
        try:
            found = await session.stat(place)
            if found.kind == "directory":
                raise FileIsDirectory(place, "it is a directory")
            if found.size_bytes <= SENT_WHOLE_BYTES:
                data = await session.get(place)
                return Response(data, media_type="application/octet-stream", headers=HEADERS)
            pieces = session.get_stream(place)
            first = await anext(pieces, b"")  # Refused here, it is an answer; later it is cut.
        except SessionError as error:
            raise SandboxGone(sandbox.id) from error

    async def sent() -> AsyncIterator[bytes]:
        with sandbox.account.request(), in_use(sandbox):
            yield first
            async for piece in pieces:
                yield piece

    return StreamingResponse(sent(), media_type="application/octet-stream", headers=HEADERS)


async def _written(request: Request, sandbox: E2bSandbox, path: str, username: str) -> Response:
    check_user(username)
    metadata, session = _metadata(request), sandbox.held.session
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with sandbox.account.request(), in_use(sandbox):
        try:
            if kind == "application/octet-stream":
                written = await take_one(request, session, place_of(path))
            else:
                written = await take_form(request, session, place_of, path)
        except SessionError as error:
            raise SandboxGone(sandbox.id) from error
    for place in written:
        sandbox.told.forget(place)
        if metadata:
            sandbox.told.keep(place, metadata)
    more = {"metadata": metadata} if metadata else {}
    data = [
        {"name": posixpath.basename(place), "type": "file", "path": place, **more}
        for place in written
    ]
    return Response(compact(data), media_type="application/json")


def _metadata(request: Request) -> dict[str, str]:
    """What is sent with files, of which the names are headers' own. Raises RequestError."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if name.startswith(METADATA):
            key = name[len(METADATA) :]
            if not key or len(key) > KEY_BYTES or not (key + value).isprintable():
                raise RequestError("invalid", f"{name[:100]}: is no name of metadata.")
            found.setdefault(key, value)
    if sum(len(key) + len(value) for key, value in found.items()) > METADATA_BYTES:
        raise RequestError("invalid", f"Metadata of a file has at most {METADATA_BYTES} bytes.")
    return found
