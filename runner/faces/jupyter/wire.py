"""The wire of Jupyter's messages: parts, signatures, and bounds before anything is parsed.

Source: jupyter_client's documentation "Messaging in Jupyter", version 5.4, "The wire protocol".
"""

import hashlib
import hmac
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

PROTOCOL = "5.3"
DELIMITER = b"<IDS|MSG>"
MESSAGE_CAP_BYTES = 64 * 1024 * 1024
PARTS_CAP = 64
SIGNATURES_KEPT = 65_536
"""A message that is sent again under one of these is refused."""
Content = dict[str, Any]


class BadMessage(ValueError):
    """What came is no message of a client that holds the key; the text says what it lacks."""


class Request(NamedTuple):
    """A client's message, checked."""

    identities: tuple[bytes, ...]
    header: Content
    content: Content
    size_bytes: int = 0

    @property
    def kind(self) -> str:
        """Its type, `execute_request` and so on."""
        return str(self.header["msg_type"])


def new_id() -> str:
    """An id of a message or a session."""
    return os.urandom(16).hex()


def header_of(kind: str, session: str) -> Content:
    """The header of a message that a kernel sends."""
    return {
        "msg_id": new_id(),
        "session": session,
        "username": "kernel",
        "date": datetime.now(UTC).isoformat(),
        "msg_type": kind,
        "version": PROTOCOL,
    }


class MessageCodec:
    """Signs what is sent and checks what came, with one connection file's key."""

    def __init__(self, key: bytes, scheme: str = "hmac-sha256") -> None:
        name = scheme.removeprefix("hmac-")
        if name == scheme or name not in hashlib.algorithms_guaranteed or "shake" in name:
            raise BadMessage(f"the signature scheme {scheme!r} is not hmac-ALGORITHM")
        self._key = key
        self._digest = name
        self._session = new_id()
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def read(self, parts: Sequence[bytes]) -> Request:
        """The request in `parts`. Raises BadMessage."""
        if len(parts) > PARTS_CAP or sum(map(len, parts)) > MESSAGE_CAP_BYTES:
            raise BadMessage(f"a message has at most {PARTS_CAP} parts, {MESSAGE_CAP_BYTES} bytes")
        if DELIMITER not in parts:
            raise BadMessage("there is no delimiter")
        at = list(parts).index(DELIMITER)
        signature, signed = parts[at + 1 : at + 2], parts[at + 2 : at + 6]
        if len(signed) != 4:
            raise BadMessage(f"there are {len(signed)} of 4 signed parts")
        if self._key:
            if not hmac.compare_digest(signature[0], self._sign(signed)):
                raise BadMessage("the signature is not of this kernel's key")
            if signature[0] in self._seen:
                raise BadMessage("the message came before")
            self._seen[signature[0]] = None
            if len(self._seen) > SIGNATURES_KEPT:
                self._seen.popitem(last=False)
        try:
            header, _parent, _metadata, content = (json.loads(part) for part in signed)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"a part is no JSON: {type(error).__name__}") from None
        if not isinstance(header, dict) or not isinstance(content, dict):
            raise BadMessage("header and content have to be objects")
        if not isinstance(header.get("msg_type"), str):
            raise BadMessage("the header has no msg_type")
        return Request(tuple(parts[:at]), header, content, sum(map(len, signed)))

    def write(
        self, kind: str, content: Content, parent: Content, identities: Sequence[bytes] = ()
    ) -> list[bytes]:
        """The parts of a message that answers, or belongs to, the one with the header `parent`."""
        header = header_of(kind, self._session)
        signed = [
            # Lone surrogates that a snippet wrote have no UTF-8: escapes carry them.
            json.dumps(part).encode()
            for part in (header, parent, {}, content)
        ]
        return [*identities, DELIMITER, self._sign(signed), *signed]

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        if not self._key:
            return b""
        made = hmac.new(self._key, digestmod=self._digest)
        for part in parts:
            made.update(part)
        return made.hexdigest().encode()
