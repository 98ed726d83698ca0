"""Uploads: a multipart body, its file straight to the disk, its fields beside it.

Nothing of a body is held in memory but its fields and the piece that has just arrived.
"""

import asyncio
import posixpath
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from runner.errors import RequestError
from runner.server.http.bodies import pieces_of
from runner.server.store.blobs import Blobs, BlobWriter
from runner.server.store.free_path import NAME_BYTES

FILE = b"file"
FIELD_BYTES = 16 * 1024
FIELDS_CAP = 16
WRITE_BYTES = 1024 * 1024
ENDED_EARLY = "The body ended before its file did."
ENVELOPE_BYTES = 64 * 1024
"""What a body may have beside the file."""


class Upload:
    """A file that was sent, not yet kept, and the fields that came with it."""

    def __init__(self, writer: BlobWriter, cap_bytes: int) -> None:
        self.writer = writer
        self.fields: dict[str, str] = {}
        self._cap_bytes = cap_bytes
        self._filename: str | None = None
        self._header = b""
        self._is_whole = False
        self._headers: dict[bytes, bytes] = {}
        self._part: bytes | None = None
        self._value = bytearray()
        self._pending = bytearray()
        self._size_bytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether the end of the body was seen."""
        return self._is_whole

    @property
    def filename(self) -> str:
        """The name of the file. Raises RequestError when no file was sent."""
        if self._filename is None:
            raise RequestError("invalid", "The body has no file.", param="file")
        return safe_name(self._filename)

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser that fills this upload."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._on_data,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )

    async def flush(self, *, least_bytes: int = 1) -> None:
        """Write to the disk what has arrived. Raises StorageError."""
        if len(self._pending) >= least_bytes:
            pending, self._pending = self._pending, bytearray()
            await asyncio.to_thread(self.writer.write, pending)

    def _part_begins(self) -> None:
        self._headers = {}
        self._header = b""
        self._part = None
        self._value = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end].lower()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers[self._header] = self._headers.get(self._header, b"") + data[start:end]

    def _header_ends(self) -> None:
        self._header = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"")
        if self._part != FILE:
            if len(self.fields) >= FIELDS_CAP:
                raise RequestError("invalid", "The body has too many fields.")
            return
        if self._filename is not None:
            raise RequestError("invalid", "The body has more than one file.", param="file")
        if b"filename" not in options:
            raise RequestError("invalid", "file has no filename.", param="file")
        self._filename = _text(options[b"filename"], "file")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE:
            self._size_bytes += end - start
            if self._size_bytes > self._cap_bytes:
                raise too_large(self._cap_bytes)
            self._pending += data[start:end]
        else:
            self._value += data[start:end]
            if len(self._value) > FIELD_BYTES:
                raise RequestError("too_large", "A field of the body is too long.")

    def _part_ends(self) -> None:
        if self._part is not None and self._part != FILE:
            self.fields[_text(self._part, "body")] = _text(bytes(self._value), "body")

    def _ends(self) -> None:
        self._is_whole = True


@asynccontextmanager
async def upload(request: Request, blobs: Blobs, cap_bytes: int) -> AsyncGenerator[Upload, None]:
    """Return the upload in the request's body; the file is gone after the block unless it was kept.

    Raises RequestError, StorageError.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestError("body", "The body must be multipart/form-data with a file.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > cap_bytes + ENVELOPE_BYTES:
        await _drain(request, cap_bytes)
        raise too_large(cap_bytes)
    with await asyncio.to_thread(blobs.writer) as writer:
        found = Upload(writer, cap_bytes)
        try:
            parser = found.parser(options[b"boundary"])
            async for piece in pieces_of(request):
                parser.write(piece)
                await found.flush(least_bytes=WRITE_BYTES)
        except FormParserError as error:
            raise RequestError("body", f"The body is no valid form: {error}") from error
        except ClientDisconnect as error:
            raise RequestError("body", ENDED_EARLY) from error
        if not found.is_whole:
            raise RequestError("body", ENDED_EARLY)
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


def _text(data: bytes, param: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError("invalid", "A name or field is no UTF-8.", param=param) from None
