"""Bodies: what a client sends after its head, bounded in size, time and structure before parsed."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator

from pydantic import JsonValue
from starlette.requests import Request

from runner.dialects.fields import check_depth
from runner.errors import RequestError

SILENCE_S = 30.0
"""A client that sends nothing of its body for so long holds its connection no longer."""
SLOWEST_BYTES_S = 4096
"""Of a body that has been coming for longer than `SILENCE_S`, at least so much a second."""
UNFINISHED_CAP_BYTES = 256 * 1024 * 1024
"""What the bodies that one key is sending may take together, if there are several."""
QUOTES_CAP = 400_000
STRUCTURE_CAP_BYTES = 1024 * 1024
"""What a JSON body may have outside of its strings; `{},` are 3 bytes, and 72 once parsed."""
UNCOUNTED_BYTES = 64 * 1024
SLICE_BYTES = 256 * 1024
"""So much is looked at before other requests have their turn."""
SPACE = b" \t\r\n"
_unfinished: Counter[str] = Counter()
"""Bytes of bodies that are still coming, by the owner of the key."""


async def pieces_of(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises RequestError when it comes too slowly, ClientDisconnect."""
    pieces, seen, began = request.stream(), 0, time.monotonic()
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                piece = await anext(pieces, None)
            if piece is None:
                return
            seen += len(piece)
            late_s = time.monotonic() - began - SILENCE_S
            if late_s > 0 and seen < late_s * SLOWEST_BYTES_S:
                message = f"The body comes slower than {SLOWEST_BYTES_S} bytes a second."
                raise RequestError("too_slow", message)
            yield piece
    except TimeoutError:
        message = f"Nothing of the body came for {SILENCE_S:g} s."
        raise RequestError("too_slow", message) from None


async def read_body(request: Request, cap: int) -> bytes:
    """Return the body, up to `cap` bytes. Raises RequestError."""
    too_large = RequestError("too_large", f"The body is larger than {cap} bytes.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > cap:
        raise too_large
    owner = str(request.scope.get("state", {}).get("owner", ""))
    body = bytearray()
    try:
        async for piece in pieces_of(request):
            body += piece
            _unfinished[owner] += len(piece)
            if len(body) > cap:
                raise too_large
            if _unfinished[owner] > max(UNFINISHED_CAP_BYTES, len(body)):
                message = "The bodies that this key is sending take too much together."
                raise RequestError("rate", f"{message} Send fewer at once.")
        return bytes(body)
    finally:
        _unfinished[owner] -= len(body)
        if not _unfinished[owner]:
            del _unfinished[owner]


async def read_json_bytes(request: Request, cap: int) -> bytes:
    """A body that may be parsed as JSON: its structure is within bounds. Raises RequestError."""
    body = await read_body(request, cap)
    await check_structure(body)
    return body


async def read_json(request: Request, cap: int) -> JsonValue:
    """Return the body as JSON. Raises RequestError."""
    return parsed(await read_json_bytes(request, cap))


def parsed(body: bytes) -> JsonValue:
    """A body that was read as JSON. Raises RequestError."""
    try:
        value: JsonValue = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("body", "The body nests too deeply.") from None
    except (ValueError, UnicodeDecodeError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "not valid JSON"
        raise RequestError("body", f"The body is no valid JSON: {what}.") from None
    check_depth(value)
    return value


async def check_structure(body: bytes) -> None:
    """Refuse JSON that would cost its reader many times its size. Raises RequestError.

    It is UTF-8 (RFC 8259, section 8.1): in what else a reader of JSON takes, half of a character
    may be a quote. What counts are strings and bytes outside of them; long strings cost no more
    than their length. Works in slices, between which other requests go on.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise RequestError("body", f"The body is JSON in {encoding}: send it in UTF-8.")
    if len(body) <= UNCOUNTED_BYTES:
        return
    quotes = structure = 0
    is_inside = False
    rest = b""
    for start in range(0, len(body), SLICE_BYTES):
        part = rest + body[start : start + SLICE_BYTES]
        whole = part.replace(b"\\\\", b"")
        # A quote that follows in the next slice may be escaped by this one's last byte.
        rest = b"\\" if whole.endswith(b"\\") else b""
        texts = whole.removesuffix(rest).replace(b'\\"', b"").split(b'"')
        outside = b"".join(texts[is_inside::2])
        structure += len(outside.translate(None, SPACE))
        quotes += len(texts) - 1
        is_inside ^= len(texts) % 2 == 0
        if quotes > QUOTES_CAP or structure > STRUCTURE_CAP_BYTES:
            raise RequestError("too_large", "The body has too many values.")
        await asyncio.sleep(0)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
