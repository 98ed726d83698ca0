"""Messages of the Connect protocol that clients send: bounded before they are parsed."""

import base64
import json
from collections.abc import AsyncGenerator

from pydantic import JsonValue
from starlette.requests import Request

from runner.dialects.fields import check_depth
from runner.errors import RequestError
from runner.server.e2b.forms import Missing
from runner.server.http.bodies import check_structure, pieces_of, read_json

MESSAGE_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 5
TIMEOUT_DIGITS = 10
PING_S = 50.0
Message = dict[str, JsonValue]


async def message_of(request: Request) -> Message:
    """The message of a plain call. Raises RequestError."""
    return _object(await read_json(request, MESSAGE_BYTES))


async def messages_of(request: Request) -> AsyncGenerator[Message, None]:
    """The messages of a stream as they come. Raises RequestError."""
    buffer = bytearray()
    async for piece in pieces_of(request):
        buffer += piece
        while len(buffer) >= HEAD_BYTES:
            size = int.from_bytes(buffer[1:HEAD_BYTES], "big")
            if buffer[0] != 0:
                raise Missing("Messages are taken as they are: neither compressed nor flagged.")
            if size > MESSAGE_BYTES:
                raise RequestError("too_large", f"A message may have {MESSAGE_BYTES} bytes.")
            if len(buffer) < HEAD_BYTES + size:
                break
            data = bytes(buffer[HEAD_BYTES : HEAD_BYTES + size])
            del buffer[: HEAD_BYTES + size]
            yield await _parsed(data)
    if buffer:
        raise RequestError("body", "The body ended in the middle of a message.")


async def first_of(request: Request) -> Message:
    """The one message that a stream's call begins with. Raises RequestError."""
    found: Message | None = None
    async for message in messages_of(request):
        if found is not None:
            raise RequestError("invalid", "The call takes one message.")
        found = message
    if found is None:
        raise RequestError("invalid", "The call has no message.")
    return found


def timeout_of(request: Request) -> float | None:
    """After how many seconds a client wants a stream to be over. Raises RequestError."""
    sent = request.headers.get("connect-timeout-ms", "")
    if not sent:
        return None
    if not (sent.isascii() and sent.isdigit()) or len(sent) > TIMEOUT_DIGITS:
        raise RequestError("invalid", "connect-timeout-ms: is no number of milliseconds.")
    return int(sent) / 1000


def ping_of(request: Request) -> float:
    """How many seconds of silence a client of a stream wants at most."""
    sent = request.headers.get("keepalive-ping-interval", "")
    is_number = sent.isascii() and sent.isdigit() and 0 < len(sent) < TIMEOUT_DIGITS
    return max(1.0, float(sent)) if is_number else PING_S


def user_of(request: Request) -> str:
    """The user that a call is to act as, by `Authorization: Basic`. Raises RequestError."""
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    return data_of(sent, "authorization").decode("utf-8", "replace").partition(":")[0]


def text(message: Message, name: str) -> str:
    """A field that is a text, empty where it is missing. Raises RequestError."""
    value = message.get(name, "")
    if not isinstance(value, str):
        raise RequestError("invalid", f"{name}: must be a string.", param=name)
    return value


def flag(message: Message, name: str, *, default: bool = False) -> bool:
    """A field that is true or false. Raises RequestError."""
    value = message.get(name, default)
    if not isinstance(value, bool):
        raise RequestError("invalid", f"{name}: must be true or false.", param=name)
    return value


def inner(message: Message, name: str) -> Message:
    """A message in a message, empty where it is missing. Raises RequestError."""
    value = message.get(name)
    return {} if value is None else _object(value, name)


def data_of(value: JsonValue, name: str) -> bytes:
    """Bytes, which travel as Base64. Raises RequestError."""
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except ValueError:
        raise RequestError("invalid", f"{name}: is no Base64.", param=name) from None


async def _parsed(data: bytes) -> Message:
    await check_structure(data)
    try:
        value: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError("body", "A message is no valid JSON.") from None
    check_depth(value)
    return _object(value)


def _object(value: JsonValue, name: str = "message") -> Message:
    if not isinstance(value, dict):
        raise RequestError("invalid", f"{name}: must be an object.", param=name)
    return value
