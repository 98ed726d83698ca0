"""Looks through an Arrow stream before a library reads it.

Its messages are flatbuffers with a body each. What is refused makes a reader do more than point
into the bytes: compressed bodies name their own size, and extension types run code that the
reader's machine has registered. Source: the Arrow columnar format, "IPC streaming format".
"""

import struct

CONTINUATION = 0xFFFFFFFF
SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
HEADER_TYPE, HEADER, BODY_BYTES = 1, 2, 3
"""Fields of a message."""
DICTIONARY_DATA = 1
COMPRESSION = 3
EXTENSION = b"ARROW:extension"
MESSAGES_CAP = 100_000
METADATA_CAP_BYTES = 16 * 1024 * 1024


def check_stream(data: bytes) -> None:
    """Raise ValueError for a stream that is not plain, struct.error for one that is none."""
    at = 0
    for _ in range(MESSAGES_CAP):
        if at >= len(data):
            return
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if length == CONTINUATION:
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
        if length == 0:
            return
        if length > min(METADATA_CAP_BYTES, len(data) - at):
            raise ValueError("a message that is longer than the stream")
        body_bytes = _check_message(data[at : at + length])
        at += length
        if not 0 <= body_bytes <= len(data) - at:
            raise ValueError("a body that is longer than the stream")
        at += body_bytes
    raise ValueError(f"it has more than {MESSAGES_CAP} messages")


def _check_message(metadata: bytes) -> int:
    """Bytes of the body of a message that is plain."""
    message = _Table(metadata, struct.unpack_from("<I", metadata)[0])
    kind = message.number(HEADER_TYPE, "<B")
    header = message.table(HEADER)
    if kind == DICTIONARY_BATCH and header is not None:
        header = header.table(DICTIONARY_DATA)
    if kind == SCHEMA:
        if EXTENSION in metadata:
            raise ValueError("it has a column of an extension type")
    elif kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        raise ValueError("it is no table")
    elif header is None or header.place(COMPRESSION):
        raise ValueError("it is compressed")
    return message.number(BODY_BYTES, "<q")


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - int(struct.unpack_from("<i", data, at)[0])

    def place(self, field: int) -> int:
        """Where a field's value is; 0 where there is none."""
        if self._fields < 0:
            raise ValueError("no flatbuffer")
        (size,) = struct.unpack_from("<H", self._data, self._fields)
        if 4 + 2 * field >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * field)
        return self._at + int(offset) if offset else 0

    def number(self, field: int, form: str) -> int:
        """The number in a field; 0 where there is none."""
        at = self.place(field)
        return int(struct.unpack_from(form, self._data, at)[0]) if at else 0

    def table(self, field: int) -> "_Table | None":
        """The table that a field leads to."""
        at = self.place(field)
        if not at:
            return None
        return _Table(self._data, at + int(struct.unpack_from("<I", self._data, at)[0]))
