"""Messages of Jupyter in those of a WebSocket: JSON text, or parts behind their offsets.

Sources: jupyter_server's documentation "WebSocket kernel wire protocols" (the default one, and
`v1.kernel.websocket.jupyter.org`), jupyter_server 2.21's `services/kernels/connection/base.py`.
"""

import json
import struct
from itertools import pairwise
from typing import Any, NamedTuple

from runner.faces.jupyter.wire import BadMessage, Content, Request, header_of

V1 = "v1.kernel.websocket.jupyter.org"
CHANNELS = ("shell", "control", "stdin")
PARTS_CAP = 64
OFFSET_BYTES = 8
NESTED = 50


class Taken(NamedTuple):
    """A client's message, and the channel that it is for."""

    channel: str
    request: Request


def read(data: str | bytes, identity: bytes, *, is_v1: bool) -> Taken:
    """The message in `data`. Raises BadMessage."""
    if isinstance(data, bytes):
        return _of_parts(data, identity) if is_v1 else _of_text(_first_buffer(data), identity)
    return _of_text(data, identity)


def write(
    channel: str, kind: str, content: Content, parent: Content, session: str, *, is_v1: bool
) -> str | bytes:
    """A message for a client."""
    header = header_of(kind, session)
    if is_v1:
        parts = [channel.encode(), *(_dump(part) for part in (header, parent, {}, content))]
        at = OFFSET_BYTES * (len(parts) + 2)
        offsets = [at := at + size for size in (0, *map(len, parts))]
        return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)
    message: dict[str, Any] = {
        "header": header,
        "msg_id": header["msg_id"],
        "msg_type": kind,
        "parent_header": parent,
        "metadata": {},
        "content": content,
        "buffers": [],
        "channel": channel,
    }
    return _dump(message).decode()


def _of_text(text: str | bytes, identity: bytes) -> Taken:
    message = _load(text)
    channel = message.get("channel", "shell")
    return _taken(channel, message.get("header"), message.get("content"), identity, len(text))


def _of_parts(data: bytes, identity: bytes) -> Taken:
    try:
        (count,) = struct.unpack_from("<Q", data)
        if not 6 <= count <= PARTS_CAP:
            raise BadMessage(f"{count} offsets are not 6 to {PARTS_CAP}")
        offsets = struct.unpack_from(f"<{count}Q", data, OFFSET_BYTES)
    except struct.error:
        raise BadMessage("the message is shorter than its offsets") from None
    if list(offsets) != sorted(offsets) or offsets[-1] > len(data):
        raise BadMessage("the offsets are none of this message")
    parts = [data[begin:end] for begin, end in pairwise(offsets)]
    channel = parts[0].decode("utf-8", "replace")
    return _taken(channel, _load(parts[1]), _load(parts[4]), identity, len(data))


def _first_buffer(data: bytes) -> bytes:
    """The JSON of a message that carries buffers, which no request here has a use for."""
    try:
        (count,) = struct.unpack_from("!I", data)
        if not 1 <= count <= PARTS_CAP:
            raise BadMessage(f"{count} buffers are not 1 to {PARTS_CAP}")
        offsets = struct.unpack_from(f"!{count}I", data, 4)
    except struct.error:
        raise BadMessage("the message is shorter than its offsets") from None
    return data[offsets[0] : offsets[1] if count > 1 else len(data)]


def _taken(
    channel: object, header: object, content: object, identity: bytes, size_bytes: int
) -> Taken:
    if not isinstance(channel, str) or channel not in CHANNELS:
        raise BadMessage(f"the channel is none of {', '.join(CHANNELS)}")
    if not isinstance(header, dict) or not isinstance(content, dict):
        raise BadMessage("header and content have to be objects")
    if not isinstance(header.get("msg_type"), str):
        raise BadMessage("the header has no msg_type")
    return Taken(channel, Request((identity,), header, content, size_bytes))


def _load(text: str | bytes) -> Content:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a part is no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise BadMessage("a part is no object")
    return value


def _dump(part: object) -> bytes:
    # Lone surrogates that a snippet wrote have no UTF-8: escapes carry them.
    return json.dumps(part, separators=(",", ":")).encode()
