"""Uploads: parts of a multipart body as they come, a file straight to the disk, fields beside it.

Nothing of a body is held in memory but its fields, the head of one part and the piece that has
just arrived.
"""

import asyncio
import posixpath
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from runner.errors import RequestError
from runner.server.http.bodies import pieces_of
from runner.server.store.blobs import Blobs, BlobWriter
from runner.server.store.free_path import NAME_BYTES

FILE = "file"
FIELD_BYTES = 16 * 1024
FIELDS_CAP = 16
WRITE_BYTES = 1024 * 1024
PARTS_MOST = 100
HEADERS_BYTES = 4 * 1024
"""Of the headers of one part, whose reading takes quadratic time."""
KIND_CHARS = 1000
"""Of the header that names the boundary."""
FED_BYTES = 16 * 1024
TURN_S = 0.002
"""How long a form is read before others have their turn."""
ENDED_EARLY = "The body ended before its last file did."
ENVELOPE_BYTES = 64 * 1024
"""What a body may have beside the file."""


class PartHead(NamedTuple):
    """What a part begins with."""

    name: str
    filename: str | None


Part = PartHead | bytes | None
"""A part's beginning, a piece of what it holds, or its end."""


class Upload:
    """A file that was sent, not yet kept, and the fields that came with it."""

    def __init__(self, writer: BlobWriter, cap_bytes: int) -> None:
        self.writer = writer
        self.fields: dict[str, str] = {}
        self._cap_bytes = cap_bytes
        self._filename: str | None = None
        self._part = ""
        self._value = bytearray()
        self._pending = bytearray()
        self._size_bytes = 0

    @property
    def filename(self) -> str:
        """The name of the file. Raises RequestError when no file was sent."""
        if self._filename is None:
            raise RequestError("invalid", "The body has no file.", param="file")
        return safe_name(self._filename)

    def take(self, part: Part) -> None:
        """Take what the form has next. Raises RequestError."""
        if isinstance(part, PartHead):
            self._begin(part)
        elif part is None:
            if self._part != FILE:
                self.fields[self._part] = text_of(bytes(self._value), "body")
        elif self._part == FILE:
            self._size_bytes += len(part)
            if self._size_bytes > self._cap_bytes:
                raise too_large(self._cap_bytes)
            self._pending += part
        else:
            self._value += part
            if len(self._value) > FIELD_BYTES:
                raise RequestError("too_large", "A field of the body is too long.")

    async def flush(self, *, least_bytes: int = 1) -> None:
        """Write to the disk what has arrived. Raises StorageError."""
        if len(self._pending) >= least_bytes:
            pending, self._pending = self._pending, bytearray()
            await asyncio.to_thread(self.writer.write, pending)

    def _begin(self, head: PartHead) -> None:
        self._part, self._value = head.name, bytearray()
        if head.name != FILE:
            if len(self.fields) >= FIELDS_CAP:
                raise RequestError("invalid", "The body has too many fields.")
            return
        if self._filename is not None:
            raise RequestError("invalid", "The body has more than one file.", param="file")
        if head.filename is None:
            raise RequestError("invalid", "file has no filename.", param="file")
        self._filename = head.filename


@asynccontextmanager
async def upload(request: Request, blobs: Blobs, cap_bytes: int) -> AsyncGenerator[Upload, None]:
    """Return the upload in the request's body; the file is gone after the block unless it was kept.

    Raises RequestError, StorageError.
    """
    reader = reader_of(request, "multipart/form-data with a file", parts_most=PARTS_MOST)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > cap_bytes + ENVELOPE_BYTES:
        await _drain(request, cap_bytes)
        raise too_large(cap_bytes)
    with await asyncio.to_thread(blobs.writer) as writer:
        found = Upload(writer, cap_bytes)
        async with aclosing(parts_of(reader, pieces_of(request))) as parts:
            async for part in parts:
                found.take(part)
                await found.flush(least_bytes=WRITE_BYTES)
        await found.flush()
        yield found


async def _drain(request: Request, cap_bytes: int) -> None:
    """Read a little more than is allowed: a client that is still sending hears no answer."""
    if request.headers.get("expect"):
        return
    seen = 0
    async for piece in pieces_of(request):
        seen += len(piece)
        if seen > 2 * cap_bytes:
            return


def too_large(cap_bytes: int) -> RequestError:
    """Return the refusal of a file that is too large."""
    return RequestError("too_large", f"A file may have {cap_bytes} bytes.", param="file")


def safe_name(name: str) -> str:
    """Return the last part of `name`, fit for a workspace. Raises RequestError."""
    found = posixpath.basename(name.replace("\\", "/"))
    if found in ("", ".", "..") or not found.isprintable() or len(found.encode()) > NAME_BYTES:
        raise RequestError("invalid", "file has no usable filename.", param="file")
    return found


# ---- forms ---------------------------------------------------------------------------------------


class FormReader:
    """Finds the parts of a body that comes in pieces; any split gives the same."""

    def __init__(self, boundary: bytes, *, parts_most: int) -> None:
        """Begin a form. Raises RequestError for a boundary that is none."""
        self.is_whole = False
        """Whether the end of the form was seen."""
        self._parts_left = parts_most
        self._parts_most = parts_most
        self._found: list[Part] = []
        self._name = self._value = self._disposition = b""
        self._headers_bytes = 0
        try:
            self._parser = MultipartParser(
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
        except FormParserError as error:
            raise _no_form(error) from error

    def feed(self, piece: bytes) -> list[Part]:
        """Find what `piece` completes. Raises RequestError."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _no_form(error) from error
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._name = self._value = self._disposition = b""
        self._headers_bytes = 0
        self._parts_left -= 1
        if self._parts_left < 0:
            raise RequestError("invalid", f"A form may have {self._parts_most} parts.")

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
        filename = options.get(b"filename")
        head = PartHead(
            text_of(options.get(b"name", b""), "body"),
            None if filename is None else text_of(filename, "file"),
        )
        self._found.append(head)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(bytes(data[start:end]))

    def _on_end(self) -> None:
        self._found.append(None)

    def _on_whole(self) -> None:
        self.is_whole = True

    def _count(self, more: int) -> None:
        self._headers_bytes += more
        if self._headers_bytes > HEADERS_BYTES:
            raise RequestError("too_large", "The headers of a part are too long.")


def reader_of(request: Request, wanted: str, *, parts_most: int) -> FormReader:
    """Begin the form in a request's body. Raises RequestError: the body must be `wanted`."""
    head = request.headers.get("content-type", "")
    kind, options = parse_options_header(head if len(head) <= KIND_CHARS else "")
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestError("body", f"The body must be {wanted}.")
    return FormReader(options[b"boundary"], parts_most=parts_most)


async def parts_of(reader: FormReader, body: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    """Yield the parts of a whole form. Raises RequestError."""
    try:
        async for piece in body:
            until = time.monotonic() + TURN_S
            for begin in range(0, len(piece), FED_BYTES):
                for part in reader.feed(piece[begin : begin + FED_BYTES]):
                    yield part
                if time.monotonic() > until:
                    await asyncio.sleep(0)
                    until = time.monotonic() + TURN_S
    except ClientDisconnect as error:
        raise RequestError("body", ENDED_EARLY) from error
    if not reader.is_whole:
        raise RequestError("body", ENDED_EARLY)


def text_of(data: bytes, param: str) -> str:
    """Read a name or a field. Raises RequestError."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError("invalid", "A name or field is no UTF-8.", param=param) from None


def _no_form(error: FormParserError) -> RequestError:
    return RequestError("body", f"The body is no valid form: {error}")
