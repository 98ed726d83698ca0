"""Values arrive equal and of exact built-in types, and garbage does not arrive."""

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.evals.guest.codec import NotPlain, decode, dumps, encode, loads

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
)
HASHABLE = st.recursive(
    st.integers() | st.text() | st.binary() | st.booleans(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    SCALARS | HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, of one type, and of one sign if zero."""
    is_zero = type(one) is float and one == 0
    same_sign = not is_zero or math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other and same_sign


@pytest.mark.slow
@given(VALUES)
def test_a_value_survives_the_way(value: Any) -> None:
    back = loads(dumps(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        1 << 20_000,
        -(2**63),
        -0.0,
        math.inf,
        "\ud800",
        range(3, 9, 2),
        Counter("abca"),
        OrderedDict(b=1, a=2),
        deque([1, 2]),
        bytearray(b"x"),
        Decimal("1.20"),
        Fraction(1, 3),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 1),
        timedelta(1, 2, 3),
        int,
        {1: {2: [3]}},
        {(1, 2): {3}},
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values_survive_too(value: Any) -> None:
    assert same(loads(dumps(value)), value)


def test_not_a_number_stays_none() -> None:
    assert math.isnan(loads(dumps(math.nan)))


@pytest.mark.parametrize("value", [[1, 2], ["a", None], [1.5, math.inf, True], [1, 2.5], [1 << 70]])
def test_a_list_arrives_as_a_list_of_its_own(value: list[Any]) -> None:
    sent = encode(value)
    back = decode(sent)
    assert back == value
    assert sent is not value
    assert back is not sent


@pytest.mark.parametrize(
    "data",
    [
        {"Fraction": "1e30000000"},
        {"Fraction": "1" * 9000},
        {"Fraction": "0.5"},
        {"Decimal": "1E+999999"},
        {"Decimal": "1" * 5000},
        {"Decimal": "1_0"},
        {"int": "0x" + "f" * (1 << 20)},
    ],
)
def test_a_number_is_bounded_before_it_is_made(data: Any) -> None:
    with pytest.raises(ValueError, match="is"):
        decode(data)


def test_views_of_a_dictionary_stay_views() -> None:
    table = {"a": 1, "b": 2}
    assert loads(dumps(table.keys())) == table.keys()
    assert list(loads(dumps(table.values()))) == [1, 2]
    assert loads(dumps(table.items())) == table.items()


class Liar(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Items(list[int]):
    def __iter__(self) -> Any:
        return iter([9, 9])


def test_a_subclass_arrives_as_its_base_with_its_true_content() -> None:
    point = namedtuple("point", "x y")
    assert same(loads(dumps(Liar("no"))), "no")
    assert same(loads(dumps(Items([1]))), [1])
    assert same(loads(dumps(point(1, 2))), (1, 2))
    assert same(loads(dumps(defaultdict(list, a=[1]))), {"a": [1]})


def test_an_object_needs_a_standby() -> None:
    thing = object()
    with pytest.raises(NotPlain):
        encode([thing])
    kept: list[Any] = []

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    text = dumps([thing], keep)
    assert loads(text, lambda number, name: (number, name)) == [(0, "object")]
    assert kept == [thing]


def test_what_contains_itself_is_kept_and_not_followed_for_ever() -> None:
    circle: list[Any] = []
    circle.append(circle)
    kept: list[Any] = []

    def keep(value: object) -> int:
        kept.append(value)
        return 0

    text = dumps(circle, keep)
    assert json.loads(text)
    assert kept == [circle]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"int": "zz"}',
        '{"unknown": 1}',
        '{"a": 1, "b": 2}',
        "{}",
        '{"object": [0, "x"]}',
        '{"type": "eval"}',
        '{"dict": [[1]]}',
        '{"set": [[1]]}',
        '{"range": [1, 2, 3, 4]}',
        '{"complex": "x"}',
        '{"bytes": 3}',
        "[" * 100_000,
    ],
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError, RecursionError)):
        loads(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["int", "tuple", "dict", "set", "type", "Decimal", "date", "Fraction"]
                ),
                inner,
                max_size=2,
            )
        ),
        max_leaves=6,
    )
)
def test_any_json_is_a_value_or_an_error_that_the_judge_expects(data: Any) -> None:
    try:
        value = loads(json.dumps(data))
    except (ValueError, TypeError, ArithmeticError, RecursionError, AttributeError):
        return
    allowed = ("builtins", "collections", "datetime", "decimal", "fractions")
    assert type(value).__module__ in allowed
