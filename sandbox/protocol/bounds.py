"""Bounds of message fields: each says whether a value is what its receiver accepts.

Types are compared exactly: a subclass of `int` or `str` is nothing that JSON gives.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any

NAME_CAP = 1_000
"""Characters of a name, a rule, a key."""

Bound = Callable[[Any], bool]


def text(cap: int) -> Bound:
    return lambda value: type(value) is str and len(value) <= cap


def optional_text(cap: int) -> Bound:
    return lambda value: value is None or (type(value) is str and len(value) <= cap)


def word(*choices: str) -> Bound:
    return lambda value: type(value) is str and value in choices


def whole(low: int, high: int) -> Bound:
    return lambda value: type(value) is int and low <= value <= high


def seconds() -> Bound:
    return lambda value: type(value) in (int, float) and 0 <= value <= 1e6


def flag() -> Bound:
    return lambda value: type(value) is bool


def items(bound: Bound, cap: int) -> Bound:
    return lambda value: type(value) is list and len(value) <= cap and all(map(bound, value))


def row(*bounds: Bound) -> Bound:
    return lambda value: (
        type(value) is list
        and len(value) == len(bounds)
        and all(bound(item) for bound, item in zip(bounds, value, strict=True))
    )


def mapping(bound: Bound, cap: int) -> Bound:
    return lambda value: (
        type(value) is dict
        and len(value) <= cap
        and all(len(key) <= NAME_CAP and bound(item) for key, item in value.items())
    )


def scalar(value: Any) -> bool:
    return (
        value is None
        or type(value) is bool
        # A literal such as 1e999 is JSON, and reads as infinity.
        or (type(value) is float and math.isfinite(value))
        or (type(value) is int and abs(value) < 2**63)
        or (type(value) is str and len(value) <= NAME_CAP)
    )


# ---- fields that several messages have -----------------------------------------------------------

Pid = Annotated[int, whole(1, 2**22)]
Nonce = Annotated[str, text(64)]
Name = Annotated[str, text(NAME_CAP)]
Line = Annotated[int, whole(0, 2**31)]
Count = Annotated[int, whole(0, 2**62)]
"""Also of bytes."""
GroupCount = Annotated[int, whole(0, 8)]
"""How many descriptors of cgroups come along."""
LayerNames = Annotated[list[str], items(text(64), 64)]
