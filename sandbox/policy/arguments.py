"""Checks the types of a caller's arguments, before anything is done with them."""

import reprlib
import signal as signals
from collections.abc import Iterable
from typing import Any, TypeVar

from sandbox.errors import PolicyError
from sandbox.protocol.bounds import NAME_CAP

T = TypeVar("T")
SIGNAL_RIGHT = 'Give a name such as "SIGTERM", or a number from 1 to 64'


def check_type(field: str, value: object, kinds: type | tuple[type, ...], right: str) -> None:
    """Raise PolicyError unless `value` is one of `kinds`; `right` shows the form that is taken.

    True and False are no numbers here.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and not _takes_bool(kinds)):
        raise PolicyError(field, f"is {shown(value)}, of type {type(value).__name__}", right)


def check_text(field: str, value: object, right: str = "Give a str") -> None:
    """Raise PolicyError unless `value` is a text that UTF-8 can hold."""
    check_type(field, value, str, right)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"has half a surrogate pair ({value[error.start]!r}) at {error.start}"
            raise PolicyError(field, found, "Give text that UTF-8 can hold") from None


def check_name(field: str, value: object, right: str) -> None:
    """Raise PolicyError unless `value` is a text as long as a name may be."""
    check_text(field, value, right)
    if isinstance(value, str) and len(value) > NAME_CAP:
        raise PolicyError(field, f"has {len(value)} characters, a name has {NAME_CAP}", right)


def check_number(
    field: str, value: object, right: str, *, kinds: tuple[type, ...] = (int, float)
) -> None:
    """Raise PolicyError unless `value` is a number and not a NaN."""
    check_type(field, value, kinds, right)
    if value != value:
        raise PolicyError(field, "is not a number", right)


def as_bytes(field: str, data: object) -> bytes | bytearray | memoryview:
    """Bytes of a text in UTF-8, or what is bytes already. Raises PolicyError."""
    if isinstance(data, str):
        check_text(field, data)
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    problem = f"is {shown(data)}, of type {type(data).__name__}"
    raise PolicyError(field, problem, "Give bytes or a str")


def signal_number(signal: object) -> int:
    """The number of a signal that is given by its name or number. Raises PolicyError."""
    check_type("signal", signal, (str, int), SIGNAL_RIGHT)
    if isinstance(signal, int) and 0 < signal <= signals.SIGRTMAX:
        return int(signal)
    if isinstance(signal, str):
        if signal in signals.Signals.__members__:
            return int(signals.Signals[signal])
        later = signal.removeprefix("SIGRTMIN+")
        number = signals.SIGRTMIN + int(later) if later.isdecimal() and len(later) < 3 else 0
        if later != signal and number < signals.SIGRTMAX:
            return number
    raise PolicyError("signal", f"is {shown(signal)}, which is none", SIGNAL_RIGHT)


def signal_name(number: int) -> str:
    """Name of a signal, as `kill -l` has it; many real-time ones have none in Python."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signals.SIGRTMIN}"


def texts(field: str, values: Any, right: str) -> list[str]:
    """A list of texts; one text by itself is none. Raises PolicyError."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PolicyError(field, f"is {shown(values)}, of type {type(values).__name__}", right)
    found = list(values)
    for value in found:
        check_type(field, value, str, right)
    return found


def shown(value: object) -> str:
    """A short form of any value; what its own `__repr__` raises is caught there."""
    try:
        return reprlib.repr(value)
    except ValueError:  # More digits than Python writes.
        return "a long number"


def _takes_bool(kinds: type | tuple[type, ...]) -> bool:
    return bool in (kinds if isinstance(kinds, tuple) else (kinds,))
