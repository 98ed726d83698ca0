"""A form with several files, read whole: `/upload/batch`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from fastapi import Request

from runner.errors import RequestError
from runner.server.http.bodies import read_body
from runner.server.http.uploads import PartHead, parts_of, reader_of

BATCH_BYTES = 32 * 1024 * 1024
FILES_MOST = 100
PARTS_MOST = 200


class SentFile(NamedTuple):
    """A file of a form."""

    filename: str
    data: bytes


async def read_files(request: Request, cap_bytes: int) -> list[SentFile]:
    """The files of the request's form. Raises RequestError."""
    reader = reader_of(request, "multipart/form-data with files", parts_most=PARTS_MOST)
    files: list[SentFile] = []
    filename: str | None = None
    data = bytearray()
    async with aclosing(parts_of(reader, _body(request, cap_bytes))) as parts:
        async for part in parts:
            if isinstance(part, PartHead):
                filename, data = part.filename, bytearray()
            elif filename is None:
                continue
            elif part is not None:
                data += part
            elif len(files) >= FILES_MOST:
                raise RequestError("invalid", f"The body has more than {FILES_MOST} files.")
            else:
                files.append(SentFile(filename, bytes(data)))
    if not files:
        raise RequestError("body", "The body has no whole file.")
    return files


async def _body(request: Request, cap_bytes: int) -> AsyncGenerator[bytes, None]:
    yield await read_body(request, min(cap_bytes, BATCH_BYTES))
