"""A form with several files, read whole: `/upload/batch`."""

from typing import NamedTuple

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from runner.errors import RequestError
from runner.server.http.bodies import read_body

BATCH_BYTES = 32 * 1024 * 1024
FILES_MOST = 100
PARTS_MOST = 200


class SentFile(NamedTuple):
    """A file of a form."""

    filename: str
    data: bytes


class Form:
    """The parts of a form, as a parser finds them."""

    def __init__(self) -> None:
        self.files: list[SentFile] = []
        self.is_whole = False
        self._parts = 0
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._filename: str | None = None
        self._data = bytearray()

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser that fills this form."""
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

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MOST:
            raise RequestError("invalid", f"The body has more than {PARTS_MOST} parts.")
        self._headers, self._header = {}, b""
        self._filename = None
        self._data = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end].lower()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers[self._header] = self._headers.get(self._header, b"") + data[start:end]

    def _header_ends(self) -> None:
        self._header = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in options:
            try:
                self._filename = options[b"filename"].decode()
            except UnicodeDecodeError:
                raise RequestError("invalid", "A filename is no UTF-8.", param="file") from None

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _part_ends(self) -> None:
        if self._filename is None:
            return
        if len(self.files) >= FILES_MOST:
            raise RequestError("invalid", f"The body has more than {FILES_MOST} files.")
        self.files.append(SentFile(self._filename, bytes(self._data)))

    def _ends(self) -> None:
        self.is_whole = True


async def read_files(request: Request, cap_bytes: int) -> list[SentFile]:
    """The files of the request's form. Raises RequestError."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RequestError("body", "The body must be multipart/form-data with files.")
    body = await read_body(request, min(cap_bytes, BATCH_BYTES))
    form = Form()
    try:
        form.parser(options[b"boundary"]).write(body)
    except FormParserError as error:
        raise RequestError("body", f"The body is no valid form: {error}") from error
    if not form.is_whole or not form.files:
        raise RequestError("body", "The body has no whole file.")
    return form.files
