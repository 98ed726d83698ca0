"""What changed in a namespace: rows, marks, and that none of it runs code of the values."""

import gc
import sys
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy
import pandas  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.display import names
from sandbox.guest.display.names import Names, type_name


def changed(before: str, after: str) -> list[list[str | int]]:
    """Rows after `after` ran in a namespace that `before` made."""
    namespace: dict[str, Any] = {"__name__": "__main__", "np": numpy, "pd": pandas}
    exec(before, namespace)
    known = Names(namespace)
    exec(after, namespace)
    return known.changes()


def test_added_changed_and_removed_names_are_told_apart() -> None:
    rows = changed("a = 1; b = 'x'; c = [1]", "a = 2; del b; d = None")
    assert [row[:3] for row in rows] == [
        ["changed", "a", "int"],
        ["added", "d", "NoneType"],
        ["removed", "b", "str"],
    ]


def test_a_name_is_reported_once() -> None:
    namespace: dict[str, Any] = {}
    known = Names(namespace)
    namespace["a"] = [1]
    assert [row[:2] for row in known.changes()] == [["added", "a"]]
    assert known.changes() == []
    del namespace["a"]
    assert [row[:2] for row in known.changes()] == [["removed", "a"]]
    assert known.changes() == []


@pytest.mark.parametrize(
    ("code", "kind", "size"),
    [
        ("x = 5", "int", ""),
        ("x = 'abc'", "str", "3 characters"),
        ("x = b'a'", "bytes", "1 byte"),
        ("x = [1, 2]", "list", "2 items"),
        ("x = {'a': 1}", "dict", "1 item"),
        ("x = range(7)", "range", "7 items"),
        ("from collections import deque; x = deque([1]); del deque", "collections.deque", "1 item"),
        ("def x(): pass", "function", ""),
        ("x = len", "function", ""),
        ("class x: pass", "type", ""),
        ("class X: pass\nx = X(); del X", "X", ""),
        ("import json as x", "module", ""),
        ("import decimal; x = decimal.Decimal(1); del decimal", "decimal.Decimal", ""),
        ("x = np.zeros((3, 4))", "numpy.ndarray", "(3, 4) float64"),
        ("x = pd.DataFrame({'a': [1], 'b': [2]})", "pandas.DataFrame", "1 row x 2 columns"),
        ("x = pd.Series([1, 2, 3])", "pandas.Series", "3 rows"),
    ],
)
def test_a_row_says_type_and_size(code: str, kind: str, size: str) -> None:
    ((change, name, found, found_size, size_bytes),) = changed("", code)
    assert (change, name, found, found_size) == ("added", "x", kind, size)
    assert isinstance(size_bytes, int)
    assert size_bytes >= 0


@pytest.mark.parametrize(
    ("code", "size_bytes"),
    [
        ("x = np.zeros((1000, 100))", 800_000),
        ("x = pd.DataFrame(np.zeros((1000, 100)))", 800_000),
        ("x = pd.Series(np.zeros(1000))", 8_000),
        ("x = object()", 0),
    ],
)
def test_sizes_of_data_are_those_of_the_buffers(code: str, size_bytes: int) -> None:
    assert changed("", code)[0][4] == size_bytes


def test_the_size_of_a_container_counts_what_it_holds() -> None:
    size_bytes = changed("", "x = ['%04d' % i + 'a' * 1000 for i in range(1000)]")[0][4]
    assert isinstance(size_bytes, int)
    assert 1_000_000 < size_bytes < 1_200_000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = 1.0"),
        ("x = True", "x = 1"),
        ("x = 2**99", "x = 2**100"),
        ("x = 'a' * 100_000", "x = 'a' * 100_001"),
        ("x = [1, 2]", "x.append(3)"),
        ("x = [1, 2]", "x[0] = 7"),
        ("x = [0] * 1000", "x[0] = 7"),
        ("x = {'a': 1}", "x['a'] = 2"),
        ("x = {i: i for i in range(1000)}", "x['a'] = 2"),
        ("x = {1}", "x.add(2)"),
        ("x = bytearray(3)", "x[1] = 1"),
        ("x = np.zeros(3)", "x += 1"),
        ("x = np.zeros(100_000)", "x += 1"),
        ("x = np.zeros((2, 3))", "x.shape = (3, 2)"),
        ("x = pd.DataFrame({'a': [1, 2]})", "x['a'] = 5"),
        ("x = pd.DataFrame({'a': [1, 2]})", "x['b'] = 5"),
        ("x = pd.DataFrame({'a': [1, 2]})", "x.loc[0, 'a'] = 5"),
        ("x = pd.Series([1, 2])", "x[0] = 5"),
        ("x = object()", "x = [x, object()][1]"),
    ],
)
def test_rebinding_and_cheap_signs_of_mutation_are_seen(before: str, after: str) -> None:
    assert [row[:2] for row in changed(before, after)] == [["changed", "x"]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1000; y = 'a b'", "x = 500 * 2; y = ' '.join('ab')"),
        ("x = float('nan')", "x"),
        ("x = np.full(1000, np.nan)", "x.sum()"),
        ("x = pd.DataFrame({'a': [1.5, None], 'b': ['x', 'y']})", "x.describe()"),
        ("x = [1, 2]", "x[0] = 1"),
        ("x = object()", "x"),
    ],
)
def test_what_is_equal_and_what_is_only_read_has_not_changed(before: str, after: str) -> None:
    assert changed(before, after) == []


def test_names_with_an_underscore_and_keys_that_are_no_names_are_left_out() -> None:
    assert changed("", "_a = 1; __b = 2; globals()[3] = 4") == []


SPY = """
ran = []
class Meta(type):
    def __getattribute__(cls, name):
        ran.append(name)
        return type.__getattribute__(cls, name)
class Spy(metaclass=Meta):
    def _run(self, *args): ran.append('method')
    __len__ = __eq__ = __hash__ = __repr__ = __str__ = __sizeof__ = __iter__ = __bool__ = _run
    __getattribute__ = __format__ = __lt__ = __class__ = property(_run)
class Text(str):
    def __len__(self): ran.append('text')
    def __hash__(self): ran.append('hash'); return 0
class Items(list):
    def __len__(self): ran.append('items')
    __iter__ = __getitem__ = __len__
class Array(np.ndarray):
    def __array_finalize__(self, other): ran.append('finalize')
class Named: pass
Named.__module__ = Text('m')
Named.__qualname__ = Text('q')
"""


def test_no_method_of_a_value_or_its_class_runs() -> None:
    namespace: dict[str, Any] = {"np": numpy, "pd": pandas}
    exec(SPY, namespace)
    known = Names(namespace)
    code = "t, i, n, s = Text('a'), Items([1]), Named(), Spy(); held = [s, t, i]; d = {'k': s}"
    exec(code + "; a = np.zeros(2).view(Array)", namespace)
    ran = namespace["ran"]
    ran.clear()
    rows = known.changes()
    assert ran == []
    assert {row[1]: row[2] for row in rows if str(row[1]) in "tinsa"} == {
        "t": "Text",
        "i": "Items",
        "n": "object",
        "s": "Spy",
        "a": "Array",
    }
    namespace.clear()
    known.changes()
    assert ran == []


def test_keys_whose_equality_is_code_are_not_compared() -> None:
    class Key:
        def __hash__(self) -> int:
            return hash("a")

        def __eq__(self, other: object) -> bool:
            raise AssertionError

    namespace: dict[Any, Any] = {"a": 1, "b": 2}
    known = Names(namespace)
    del namespace["a"]
    namespace[Key()] = 3
    assert [row[:2] for row in known.changes()] == [["removed", "a"]]


def test_a_module_that_is_no_module_is_not_asked_for_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fake:
        def __getattr__(self, name: str) -> object:
            raise AssertionError

    for name in ("numpy", "pandas"):
        monkeypatch.setitem(sys.modules, name, Fake())
    namespace: dict[str, Any] = {}
    known = Names(namespace)
    namespace["x"] = numpy.zeros(3)
    assert known.changes() == [["added", "x", "numpy.ndarray", "", 0]]


def test_values_are_not_kept_alive() -> None:
    class Big:
        pass

    namespace: dict[str, Any] = {"x": Big(), "y": [Big()]}
    seen = [weakref.ref(namespace["x"]), weakref.ref(namespace["y"][0])]
    known = Names(namespace)
    gc.disable()
    try:
        namespace.clear()
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()
    assert len(known.changes()) == 2


def test_rows_and_names_are_bounded() -> None:
    namespace: dict[str, Any] = {}
    known = Names(namespace)
    namespace["\ud800" * 5000] = type("b" * 5000, (), {})()
    ((_, name, kind, _, _),) = known.changes()
    assert str(name).startswith("\\ud800\\ud800")
    assert (len(str(name)), len(str(kind))) == (names.NAME_CAP, names.NAME_CAP)
    namespace.update({f"v{i}": i for i in range(names.ROWS_CAP + 100)})
    assert len(known.changes()) <= names.ROWS_CAP
    assert known.changes() == []


def test_beyond_the_budget_new_names_count_as_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(names, "perf_counter", lambda: float(next(ticks)))
    namespace: dict[str, Any] = {}
    known = Names(namespace)
    namespace.update({f"v{i}": i for i in range(1000)})
    rows = known.changes()
    # The clock is read at every 64th name, and the second time it is over.
    assert [row[1] for row in rows] == [f"v{i}" for i in range(2 * names.CHECK_EVERY)]
    monkeypatch.setattr(names, "perf_counter", lambda: 0.0)
    assert known.changes() == []
    namespace["v900"] = "new"
    del namespace["v901"]
    assert [row[:2] for row in known.changes()] == [["changed", "v900"], ["removed", "v901"]]


def test_a_namespace_of_thousands_of_names_is_left_alone_until_it_shrinks() -> None:
    namespace: dict[str, Any] = {"a": 1}
    known = Names(namespace)
    namespace.update({f"v{i}": i for i in range(names.NAMES_CAP)})
    assert known.changes() == []
    namespace.clear()
    namespace["b"] = 1
    assert [row[:2] for row in known.changes()] == [["added", "b"], ["removed", "a"]]


def test_one_large_item_does_not_count_for_all() -> None:
    size_bytes = changed("", "x = ['a' * 1_000_000] + ['a'] * 9_999")[0][4]
    assert isinstance(size_bytes, int)
    assert 1_000_000 < size_bytes < 2_000_000


SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()
SPACES = st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=2), SCALARS, max_size=6)


@given(before=SPACES, after=SPACES)
def test_rows_of_scalars_are_the_difference_of_the_namespaces(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    namespace = dict(before)
    known = Names(namespace)
    namespace.clear()
    namespace.update(after)
    rows = {row[1]: row[0] for row in known.changes()}
    for name in before.keys() | after.keys():
        if name not in before:
            assert rows[name] == "added"
        elif name not in after:
            assert rows[name] == "removed"
        elif name in rows:
            assert repr(before[name]) != repr(after[name]) or before[name] != before[name]
        else:
            assert before[name] == after[name] or before[name] is after[name]


@given(
    value=st.one_of(
        st.lists(SCALARS).map(deque),
        st.dictionaries(st.integers(), SCALARS).map(OrderedDict),
        st.lists(st.integers()).map(Counter),
        st.dictionaries(st.integers(), SCALARS).map(lambda items: defaultdict(int, items)),
        st.lists(SCALARS).map(tuple),
        st.frozensets(st.integers()),
    )
)
def test_any_container_has_a_row_with_its_length(value: Any) -> None:
    namespace: dict[str, Any] = {}
    known = Names(namespace)
    namespace["x"] = value
    ((_, _, kind, size, size_bytes),) = known.changes()
    assert kind == type_name(type(value))
    assert size == f"{len(value)} item{'' if len(value) == 1 else 's'}"
    assert isinstance(size_bytes, int)
    assert size_bytes > 0
    assert known.changes() == []
