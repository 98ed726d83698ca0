"""Values between the judge and the candidate: plain data, rebuilt from scratch on the other side.

What arrives is of an exact built-in type, whatever class it had: an overridden `__eq__` or
`__class__` stays behind. An object that is no plain data travels as a handle.
"""

import builtins
import json
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

DEPTH_CAP = 400
SMALL = 1 << 63
"""Integers below this go as they are; JSON has no hex, and decimal is slow and capped."""

NUMBERS = frozenset((int, float, bool))
SIMPLE = frozenset((str, int, float, bool, type(None)))
"""Types of items that are decoded as they are; long answers are mostly lists of one of them."""

TEXT_CAP = 1 << 16
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|^<object object|^<generator ")
REMOTE = "<{} of the candidate>"
"""What the stand-in for an object of the candidate's shows, by the name of its type."""
Keep = Callable[[Any], int]
"""Stores an object and gives its handle."""
Remote = Callable[[int, str], Any]
"""The stand-in for a handle, with the name of its type."""


class NotPlain(Exception):
    """A value cannot travel, and there is nothing to keep it."""


class Opaque:
    """Stands for a value of the reference's that is no plain data: what it says of itself.

    It equals an object of the candidate's whose type has the same name and that says the same. What
    only says where it lies in memory equals nothing, as it would in the reference harness.
    """

    def __init__(self, kind: str, text: str | None) -> None:
        self.kind = kind
        self.text = text

    def __eq__(self, other: object) -> bool:
        if self.text is None:
            return False
        if isinstance(other, Opaque):
            return (self.kind, self.text) == (other.kind, other.text)
        is_alike = not isinstance(other, str) and repr(other) == REMOTE.format(self.kind)
        return is_alike and str(other) == self.text

    def __hash__(self) -> int:
        return hash((self.kind, self.text))

    def __repr__(self) -> str:
        return self.text or f"<{self.kind}>"


def describe_object(value: Any) -> str | None:
    """What `value` says of itself; None if that would not tell it from another one."""
    try:
        text = str(value)
    # Whatever the text of a stranger's object raises, it has none.
    except Exception:  # noqa: BLE001
        return None
    return None if len(text) > TEXT_CAP or ADDRESS.search(text) else text


def dumps(value: Any, keep: Keep | None = None) -> str:
    """`value` as JSON text. Raises NotPlain where an object is no data and `keep` is missing."""
    return json.dumps(encode(value, keep))


def outlined(value: Any) -> Any:
    """As `encode`, for values of a reference: what is no plain data is described."""
    return encode(value, OUTLINE)


def encode(value: Any, keep: Keep | None = None, depth: int = 0) -> Any:
    """`value` as JSON has it. A dictionary stands for anything with a tag: {tag: content}."""
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -SMALL < value < SMALL else {"int": hex(value)}
    if depth > DEPTH_CAP:
        return _handle(value, keep)
    depth += 1
    if kind is list:
        if _is_json(value):
            return value.copy()
        return [encode(item, keep, depth) for item in value]
    encoder = ENCODERS.get(kind)
    if encoder is not None:
        return encoder(value, keep, depth)
    if kind is type:
        name = str(type.__getattribute__(value, "__name__"))
        if getattr(builtins, name, None) is value:
            return {"type": name}
    if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return encode(value.item(), keep, depth)
    for base in type.mro(kind):
        if base is list:
            return [encode(item, keep, depth) for item in list.__iter__(value)]
        if base in SCALARS:
            return encode(SCALARS[base](value), keep, depth)
        encoder = ENCODERS.get(base)
        if encoder is not None:
            return encoder(value, keep, depth)
    return _handle(value, keep)


def _is_json(items: list[Any]) -> bool:
    """Whether the items look in JSON as they are; a quick look for long lists of one type."""
    kinds = set(map(type, items))
    if kinds <= NUMBERS and items:
        return bool(min(items) > -SMALL and max(items) < SMALL)
    return int not in kinds and kinds <= SIMPLE


def OUTLINE(_value: Any) -> int:
    """Ask `encode` for a description of an object in place of its handle."""
    raise NotImplementedError


def _handle(value: Any, keep: Keep | None) -> Any:
    if keep is None:
        raise NotPlain(type(value).__name__)
    if keep is OUTLINE:
        return {"opaque": [type(value).__name__, describe_object(value)]}
    return {"object": [keep(value), type(value).__name__]}


def _items(tag: str, iterate: Callable[[Any], Any]) -> Callable[[Any, Keep | None, int], Any]:
    def encoder(value: Any, keep: Keep | None, depth: int) -> Any:
        return {tag: [encode(item, keep, depth) for item in iterate(value)]}

    return encoder


def _pairs(tag: str) -> Callable[[Any, Keep | None, int], Any]:
    def encoder(value: Any, keep: Keep | None, depth: int) -> Any:
        pairs = dict.items(value)
        return {tag: [[encode(key, keep, depth), encode(item, keep, depth)] for key, item in pairs]}

    return encoder


def _text(tag: str, write: Callable[[Any], Any]) -> Callable[[Any, Keep | None, int], Any]:
    return lambda value, _keep, _depth: {tag: write(value)}


SCALARS: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: lambda value: str.__str__(value) if type(value) is not str else value,
}
ENCODERS: dict[type, Callable[[Any, Keep | None, int], Any]] = {
    tuple: _items("tuple", tuple.__iter__),
    set: _items("set", set.__iter__),
    frozenset: _items("frozenset", frozenset.__iter__),
    deque: _items("deque", deque.__iter__),
    Counter: _pairs("Counter"),
    OrderedDict: _pairs("OrderedDict"),
    dict: _pairs("dict"),
    type({}.keys()): _items("keys", iter),
    type({}.values()): _items("values", iter),
    type({}.items()): _items("items", iter),
    bytes: _text("bytes", lambda value: bytes.hex(value)),
    bytearray: _text("bytearray", lambda value: bytearray.hex(value)),
    complex: _text("complex", lambda value: [value.real, value.imag]),
    range: _text("range", lambda value: [value.start, value.stop, value.step]),
    Decimal: _text("Decimal", Decimal.__str__),
    Fraction: _text("Fraction", Fraction.__str__),
    datetime: _text("datetime", lambda value: datetime.isoformat(value)),
    date: _text("date", lambda value: date.isoformat(value)),
    timedelta: _text("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
}

DIGITS_CAP = 4300
"""Digits and places of a Decimal or a Fraction: its text is short, and its value need not be."""
HEX_CAP = 1 << 20


def _bounded_int(content: str) -> int:
    if len(content) > HEX_CAP:
        raise ValueError("an integer is too long")
    return int(content, 16)


def _bounded_fraction(content: str) -> Fraction:
    if len(content) > 2 * DIGITS_CAP or not FRACTION.fullmatch(content):
        raise ValueError("a fraction is more than two whole numbers")
    return Fraction(content)


def _bounded_decimal(content: str) -> Decimal:
    found = DECIMAL.fullmatch(content) if len(content) <= DIGITS_CAP else None
    if found is None or abs(int(found[1] or 0)) > DIGITS_CAP:
        raise ValueError("a decimal number is out of bounds")
    return Decimal(content)


FRACTION = re.compile(r"-?[0-9]+(?:/[0-9]+)?")
DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:E([+-]?[0-9]{1,9}))?|Infinity|s?NaN[0-9]*)")
DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": _bounded_int,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda content: complex(*content),
    "range": lambda content: range(*content),
    "Decimal": _bounded_decimal,
    "Fraction": _bounded_fraction,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda content: timedelta(*content),
}
CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "keys": lambda items: dict.fromkeys(items).keys(),
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda items: dict(items).items(),
}
MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
}


def loads(text: str | bytes, remote: Remote | None = None) -> Any:
    """The value in `text`. Raises ValueError, TypeError or RecursionError for anything else."""
    return decode(json.loads(text), remote)


def decode(data: Any, remote: Remote | None = None) -> Any:
    """The value that `encode` gave as `data`, of exact built-in types; handles by `remote`."""
    if isinstance(data, list):
        if SIMPLE.issuperset(map(type, data)):
            return data.copy()
        return [decode(item, remote) for item in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError("a tag and its content are one pair")
    ((tag, content),) = data.items()
    if tag in CONTAINERS:
        return CONTAINERS[tag]([decode(item, remote) for item in content])
    if tag in MAPPINGS:
        pairs = [(decode(key, remote), decode(item, remote)) for key, item in content]
        return MAPPINGS[tag](pairs)
    if tag in DECODERS:
        return DECODERS[tag](content)
    if tag == "type":
        found = getattr(builtins, content)
        if isinstance(found, type):
            return found
    if tag == "opaque" and remote is None:
        kind, said = content
        return Opaque(str(kind), None if said is None else str(said))
    if tag == "object" and remote is not None:
        number, name = content
        return remote(int(number), str(name))
    raise ValueError(f"unknown tag {tag!r}")
