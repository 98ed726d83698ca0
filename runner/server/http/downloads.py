"""Downloads: the content of a kept file as an answer."""

import os

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from runner.errors import RequestError
from runner.server.store.blobs import Blobs
from runner.server.store.records import ContainerFile, StoredFile

HEADERS = {
    # What a snippet wrote must not run as a page of this origin.
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
}


async def content_reply(blobs: Blobs, file: StoredFile | ContainerFile) -> Response:
    """Return the bytes of `file`, read from the disk as they are sent. Raises RequestError."""
    path = blobs.path(file.blob)
    try:
        status = await run_in_threadpool(os.stat, path)
    except FileNotFoundError:
        # Deleted or replaced between the look-up and now.
        raise RequestError("not_found", f"No such File object: {file.id}") from None
    return FileResponse(
        path,
        stat_result=status,
        media_type="application/octet-stream",
        headers={**HEADERS, "etag": f'"{file.sha256}"'},
    )
