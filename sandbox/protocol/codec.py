"""Declares messages, packs them into frames and unpacks them; believes no frame.

`message` makes a class a message: a frozen dataclass with a kind and a direction, each of whose
fields is annotated with the bound of what its receiver accepts. That declaration is the only one.

JSON is the only encoding: no pickle, no marshal, no nesting below the first level but what a `row`
bound spells out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform

from sandbox.protocol.bounds import Bound
from sandbox.protocol.frames import Frame, encode

Direction = Literal["to_zygote", "from_zygote", "to_init", "from_init", "to_guest", "from_guest"]

UNCOUNTED_BYTES = 64 * 1024
STRUCTURE_CAP_BYTES = 256 * 1024
QUOTES_CAP = 64 * 1024
"""JSON outside of strings costs its reader up to 25 times its size: `[],` is a list of 64 bytes.
A body above `UNCOUNTED_BYTES` may have this much of it, which the largest message needs."""


class MessageError(ValueError):
    """A message that its receiver must not act on."""


class Message:
    """Base of every message."""


class Spec(NamedTuple):
    """What `message` declares of a class."""

    kind: int
    cls: type[Message]
    directions: tuple[Direction, ...]
    bounds: dict[str, Bound]


SPECS: dict[type[Message], Spec] = {}
_BY_KIND: dict[tuple[Direction, int], Spec] = {}

_M = TypeVar("_M", bound=Message)


@dataclass_transform(frozen_default=True)
def message(kind: int, *directions: Direction) -> Callable[[type[_M]], type[_M]]:
    """Declare a class as the message `kind` in each of `directions`.

    Raises TypeError if the kind is taken there, or a field has no bound: the module does not load.
    """

    def declare(cls: type[_M]) -> type[_M]:
        bounds = {name: _bound(cls, name) for name in cls.__annotations__}
        spec = Spec(kind, cls, directions, bounds)
        for direction in directions:
            if _BY_KIND.setdefault((direction, kind), spec) is not spec:
                raise TypeError(f"{cls.__name__}: kind {kind} {direction} is taken")
        SPECS[cls] = spec
        return dataclass(frozen=True)(cls)

    return declare


def _bound(cls: type, name: str) -> Bound:
    hint = cls.__annotations__[name]
    for bound in getattr(hint, "__metadata__", ()):
        if callable(bound):
            return bound  # type: ignore[no-any-return]
    raise TypeError(f"{cls.__name__}.{name}: annotate it with its bound")


_encoder = json.JSONEncoder(separators=(",", ":"))
_pieces = c_make_encoder(
    None, _encoder.default, encode_basestring_ascii, None, ":", ",", False, False, True
)
"""What `_encoder` makes anew for each value; it need not look for one that holds itself."""


def pack(message: Message) -> bytes:
    """The frame of `message`, ready to be written."""
    return encode(SPECS[type(message)].kind, "".join(_pieces(message.__dict__, 0)).encode())


def pack_body(cls: type[Message], body: bytes) -> bytes:
    """What `pack` makes of a `cls` with that JSON, for a process that must touch few pages."""
    return encode(SPECS[cls].kind, body)


def unpack(direction: Direction, frame: Frame) -> Message:
    """The message in `frame`. Raises MessageError unless every field is there and in bounds."""
    spec = spec_of(direction, frame.kind)
    try:
        if direction == "from_guest" and len(frame.body) > UNCOUNTED_BYTES:
            _count_structure(frame.body)
        raw = decode_object(frame.body.decode())
    except (ValueError, RecursionError) as error:
        raise not_json(spec, error) from None
    return checked(spec, raw)


def spec_of(direction: Direction, kind: int) -> Spec:
    """What was declared of a kind. Raises MessageError for one that is none there."""
    spec = _BY_KIND.get((direction, kind))
    if spec is None:
        raise MessageError(f"kind {kind} is no message {direction.replace('_', ' ')}")
    return spec


def decode_object(body: str) -> object:
    """The JSON value that is all of `body`. Raises ValueError or RecursionError."""
    raw, end = _decode(body)
    return raw if end == len(body) else None


def not_json(spec: Spec, error: Exception) -> MessageError:
    """The error of a body that could not be read."""
    return MessageError(f"{spec.cls.__name__}: body is not JSON ({type(error).__name__})")


def checked(spec: Spec, raw: object) -> Message:
    """The message with the fields `raw`. Raises MessageError unless all are there and in bounds."""
    name = spec.cls.__name__
    if type(raw) is not dict or raw.keys() != spec.bounds.keys():
        raise MessageError(f"{name}: fields are missing or unknown")
    for field, bound in spec.bounds.items():
        if not bound(raw[field]):
            raise MessageError(f"{name}.{field}: out of bounds")
    # What its constructor comes to, which sets the fields of a frozen class one by one.
    message = object.__new__(spec.cls)
    message.__dict__.update(raw)
    return message


def _count_structure(body: bytes | bytearray) -> None:
    """Raise ValueError if `body` would make its reader build more than a message has."""
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if without_escapes.count(b'"') > QUOTES_CAP:
        raise ValueError("too many strings")
    if sum(map(len, without_escapes.split(b'"')[::2])) > STRUCTURE_CAP_BYTES:
        raise ValueError("too much outside of strings")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode
"""Without space around the value: neither side puts any there."""
