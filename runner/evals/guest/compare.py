"""When a candidate's value counts as the reference's: equality, tolerance, a task's own rule."""

import cmath
import math
from collections.abc import Callable
from typing import Any


class Comparison:
    """Decides whether a value counts as the reference's, by a suite's own rule.

    Once a reference value was a float, small differences are allowed for the rest of the inputs.
    """

    def __init__(self, rule: str, tolerance: float) -> None:
        self._rule = RULES[rule]
        self._tolerance = tolerance

    def require(self, got: Any, expected: Any, args: list[Any]) -> None:
        """Raise AssertionError, or what the comparison itself raises, unless `got` counts."""
        is_same = self._rule(got, expected, args, self._tolerance)
        if is_same is None:
            is_same = got == expected
            if self._tolerance == 0 and _is_floats(expected):
                self._tolerance = 1e-6
            if not is_same and self._tolerance and type(got) is type(expected):
                is_same = _is_close(got, expected, self._tolerance)
        assert is_same, f"{got!r} is not {expected!r}"


def _not_none(got: Any, expected: Any, _args: Any, _tolerance: float) -> bool:
    return bool(got == expected if isinstance(got, bool) else expected == (got is not None))


def _is_root(got: Any, _expected: Any, args: list[Any], tolerance: float) -> bool:
    total = sum(one * math.pow(got, power) for power, one in enumerate(args[0]))
    return bool(abs(total) <= tolerance)


def _is_surface(got: Any, expected: Any, args: list[Any], tolerance: float) -> bool:
    base, height = args
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return bool(got == expected or abs(got - round(base**2 + 2 * base * slant)) <= tolerance)


def _is_digit_distance(got: Any, expected: Any, args: list[Any], _tolerance: float) -> bool:
    one, other = map(str, args)
    width = max(len(one), len(other))
    digits = zip(one.zfill(width), other.zfill(width), strict=True)
    return bool(got == expected or got == sum(abs(int(a) - int(b)) for a, b in digits))


def expected_by(rule: str, value: Any) -> Any:
    """What the reference's `value` is for a rule: whether there is one may be all that counts."""
    return value is not None if rule == "not none" else value


RULES: dict[str, Callable[[Any, Any, list[Any], float], bool | None]] = {
    "": lambda _got, _expected, _args, _tolerance: None,
    "any": lambda _got, _expected, _args, _tolerance: True,
    "or zero": lambda got, expected, _args, _tolerance: bool(got == expected or got == 0),
    "set": lambda got, expected, _args, _tolerance: set(got) == set(expected),
    "not none": _not_none,
    "root": _is_root,
    "surface": _is_surface,
    "digit distance": _is_digit_distance,
}


def _is_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _is_close(got: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(
                _is_close(one, other, tolerance) for one, other in zip(got, expected, strict=True)
            )
        )
    if got == expected:
        return True
    try:
        # What is infinite is close to nothing but itself, and no number is to no number.
        if not (cmath.isfinite(got) and cmath.isfinite(expected)):
            return cmath.isnan(got) and cmath.isnan(expected)
        return bool(abs(got - expected) <= tolerance + 1e-7 * abs(expected))
    except OverflowError:
        return False
