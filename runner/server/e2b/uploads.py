"""Uploads of E2B's clients: one file as the body, or many in a form, each straight to its place."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from runner.errors import RequestError
from runner.server.http.bodies import pieces_of
from sandbox import AsyncSession

FILES_MOST = 1000
HEADERS_BYTES = 16 * 1024
"""Of the headers of one part."""
PIECES_HELD = 8
UNPACKED_BYTES = 1024 * 1024
"""A compressed body is unpacked so much at a time."""
ENDED_EARLY = "The body ended before its last file did."
Part = tuple[Literal["begin"], str] | tuple[Literal["data"], bytes] | tuple[Literal["end"], None]
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
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestError("body", "The body must be multipart/form-data, or octet-stream.")
    form = _Form()
    written: list[str] = []
    place: _Place | None = None
    try:
        parser = form.parser(options[b"boundary"])
        async for piece in body_of(request):
            parser.write(piece)
            for part in form.taken():
                if part[0] == "begin":
                    if only and written:
                        raise RequestError("invalid", "With a path there is one file.")
                    place = _Place(session, place_of(only or part[1]))
                    written.append(place.path)
                elif place is not None:
                    await place.take(part[1])
        if not form.is_whole:
            raise RequestError("body", ENDED_EARLY)
    except FormParserError as error:
        raise RequestError("body", f"The body is no valid form: {error}") from None
    except ClientDisconnect as error:
        raise RequestError("body", ENDED_EARLY) from error
    finally:
        if place is not None:
            await place.give_up()
    if not written:
        raise RequestError("invalid", "The body has no file.", param="file")
    return written


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


class _Form:
    """What a parser has found and was not taken yet."""

    def __init__(self) -> None:
        self.is_whole = False
        self._found: list[Part] = []
        self._name = self._value = b""
        self._disposition = b""
        self._headers_bytes = self._files = 0
        self._is_file = False

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser that fills it."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_end,
                "on_end": self._on_whole,
            },
        )

    def taken(self) -> list[Part]:
        """What was found since the last time."""
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._headers_bytes = 0

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end].lower()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._name == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = options.get(b"name") == b"file" and b"filename" in options
        if not self._is_file:
            raise RequestError("invalid", "A form has parts named `file`, with a filename, alone.")
        self._files += 1
        if self._files > FILES_MOST:
            raise RequestError("invalid", f"A form may have {FILES_MOST} files.")
        try:
            # httpx writes what may not stand there as browsers do.
            name = options[b"filename"].decode().replace("%22", '"')
        except UnicodeDecodeError:
            raise RequestError("invalid", "A filename is no UTF-8.", param="file") from None
        self._found.append(("begin", name))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(("data", bytes(data[start:end])))

    def _on_end(self) -> None:
        self._found.append(("end", None))

    def _on_whole(self) -> None:
        self.is_whole = True

    def _count(self, more: int) -> None:
        self._headers_bytes += more
        if self._headers_bytes > HEADERS_BYTES:
            raise RequestError("too_large", "The headers of a part are too long.")
