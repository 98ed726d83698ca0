"""Uploads of E2B's clients: one file as the body, or many in a form, each straight to its place."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from starlette.requests import ClientDisconnect, Request

from runner.errors import RequestError
from runner.server.http.bodies import pieces_of
from runner.server.http.uploads import ENDED_EARLY, PartHead, parts_of, reader_of
from sandbox import AsyncSession

FILES_MOST = 1000
PIECES_HELD = 8
UNPACKED_BYTES = 1024 * 1024
"""A compressed body is unpacked so much at a time."""
PlaceOf = Callable[[str], str]


async def body_of(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes, unpacked where it is compressed. Raises RequestError."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        async for piece in pieces_of(request):
            yield piece
        return
    if encoding != "gzip":
        raise RequestError("invalid", f"A body with encoding {encoding[:40]!r} is not taken.")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        async for piece in pieces_of(request):
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, UNPACKED_BYTES)
                piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise RequestError("body", f"The body is no valid gzip: {error}") from None
    if not unpacker.eof:
        raise RequestError("body", ENDED_EARLY)


async def take_one(request: Request, session: AsyncSession, path: str) -> list[str]:
    """Write the body to a file; the path written. Raises RequestError, FileRefused."""
    try:
        await session.put(path, body_of(request))
    except ClientDisconnect as error:
        raise RequestError("body", ENDED_EARLY) from error
    return [path]


async def take_form(
    request: Request, session: AsyncSession, place_of: PlaceOf, only: str
) -> list[str]:
    """Write the files of a form, each as it comes; their paths. Raises RequestError, FileRefused.

    `only` is the path of the one file of a form that has one, in the place of its name.
    """
    wanted = "multipart/form-data, or octet-stream"
    reader = reader_of(request, wanted, parts_most=FILES_MOST)
    written: list[str] = []
    place: _Place | None = None
    try:
        async with aclosing(parts_of(reader, body_of(request))) as parts:
            async for part in parts:
                if isinstance(part, PartHead):
                    if only and written:
                        raise RequestError("invalid", "With a path there is one file.")
                    place = _Place(session, place_of(only or _filename(part)))
                    written.append(place.path)
                elif place is not None:
                    await place.take(part)
    finally:
        if place is not None:
            await place.give_up()
    if not written:
        raise RequestError("invalid", "The body has no file.", param="file")
    return written


def _filename(head: PartHead) -> str:
    if head.name != "file" or head.filename is None:
        raise RequestError("invalid", "A form has parts named `file`, with a filename, alone.")
    # httpx writes what may not stand there as browsers do.
    return head.filename.replace("%22", '"')


class _Place:
    """A file that is being written."""

    def __init__(self, session: AsyncSession, path: str) -> None:
        self.path = path
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_HELD)
        self._task = asyncio.create_task(session.put(path, self._source()))

    async def take(self, data: bytes | None) -> None:
        """Write a piece; with None it is whole. Raises FileRefused."""
        putting = asyncio.create_task(self._pieces.put(data))
        # The writing may end early, refused: then nothing takes the piece any more.
        await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        if data is None or self._task.done():
            await self._task

    async def give_up(self) -> None:
        """Leave what was there before, if it is not whole."""
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # It was told where it came up.

    async def _source(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
