"""What changed in the session's variables, under a budget and without running user code.

Values are compared by marks. A mark is made by C code of exact builtin, numpy and pandas types
only; of any other object the identity is all that is looked at. No mark keeps a value alive but
small immutable ones: a variable that the snippet drops is freed at that moment.
"""

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sized
from itertools import islice
from time import perf_counter
from types import BuiltinFunctionType, ModuleType
from typing import Any

from sandbox.guest.display.texts import clean

Row = list[str | int]

BUDGET_S = 0.002
CHECK_EVERY = 64
NAMES_CAP = 5_000
ROWS_CAP = 500
NAME_CAP = 1_000
SAMPLE = 16
SMALL = 64
"""Containers of up to this many items are compared item by item, by identity."""
HASHED_CHARACTERS = 65_536
DIGEST_BYTES = 1_024
UNSEEN = object()
"""The mark of a variable that the budget left no time to look at."""

_name_of = type.__dict__["__name__"].__get__
_qualified_name_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__

SCALARS = frozenset({bool, float, complex, type(None)})
NUMPY = "numpy"
PANDAS = "pandas"


class Names:
    """The variables of one namespace as they were when last looked at."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._known: dict[str, tuple[object, str]] = {}
        self.changes()

    def changes(self) -> list[Row]:
        """Rows (change, name, type, size text, size in bytes) since the last call.

        Names that start with an underscore are not variables of the caller. When the budget is
        spent, further new variables count as known and further changes go unnoticed; while
        there are more than `NAMES_CAP`, no row is given at all.
        """
        if len(self._namespace) > NAMES_CAP:
            return []
        known = self._known
        rows: list[Row] = []
        seen = 0
        deadline = 0.0
        is_over = False
        # One C call: a thread of the snippet cannot change the size of the dict meanwhile.
        for name, value in list(self._namespace.items()):
            if type(name) is not str or name.startswith("_"):
                continue
            seen += 1
            if is_over:
                known.setdefault(name, (UNSEEN, ""))
                continue
            if seen % CHECK_EVERY == 0:
                now = perf_counter()
                deadline = deadline or now + BUDGET_S
                is_over = now > deadline
            before = known.get(name)
            mark = _mark(value)
            if before is not None and before[0] == mark:
                continue
            kind = type_text(value)
            known[name] = (mark, kind)
            if len(rows) < ROWS_CAP and (before is None or before[0] is not UNSEEN):
                size_text, size_bytes = _size(value)
                change = "added" if before is None else "changed"
                rows.append([change, _short(name), kind, size_text, size_bytes])
        if len(known) > seen:
            self._drop_removed(rows)
        return rows

    def _drop_removed(self, rows: list[Row]) -> None:
        # A namespace may hold keys of other types, whose hash and equality are not to be run.
        present = {name for name in list(self._namespace) if type(name) is str}
        for name in sorted(self._known.keys() - present):
            kind = self._known.pop(name)[1]
            if len(rows) < ROWS_CAP:
                rows.append(["removed", _short(name), kind, "", 0])


def type_name(kind: type) -> str:
    """The name of a class as a reader knows it: `int`, `Point`, `decimal.Decimal`."""
    name = _qualified_name_of(kind)
    if type(name) is not str:
        return "object"
    try:
        module = _module_of(kind)
    except AttributeError:
        return _short(name)
    if type(module) is not str or module in ("builtins", "__main__"):
        return _short(name)
    return _short(f"{module}.{name}")


def short_type_name(kind: type) -> str:
    """The bare name of a class, read without asking its metaclass."""
    name = _name_of(kind)
    return _short(name) if type(name) is str else "object"


def _short(name: str) -> str:
    return clean(name[:NAME_CAP])[:NAME_CAP]


def type_text(value: object) -> str:
    """The name of the class of `value`; public names for the classes that people know best."""
    kind = type(value)
    if kind is BuiltinFunctionType:
        return "function"
    if kind is _class(NUMPY, "ndarray"):
        return "numpy.ndarray"
    for name in ("DataFrame", "Series"):
        if kind is _class(PANDAS, name):
            return f"pandas.{name}"
    return type_name(kind)


def _class(module_name: str, name: str) -> object:
    """A class of a library if that is loaded. Reads dicts only: a module may be a fake."""
    module = sys.modules.get(module_name)
    if type(module) is not ModuleType:
        return UNSEEN
    found: object = module.__dict__.get(name, UNSEEN)
    return found


# ---- marks ------------------------------------------------------------------------------------


def _mark(value: Any) -> object:
    """Something that differs from the mark of another value, as far as a cheap look can tell."""
    kind = type(value)
    if kind in SCALARS:
        return kind, value
    maker = MARKS.get(kind)
    if maker is not None:
        return maker(value)
    if kind is _class(NUMPY, "ndarray"):
        return _mark_array(value)
    if kind is _class(PANDAS, "DataFrame") or kind is _class(PANDAS, "Series"):
        return _mark_table(value)
    return id(value)


def _mark_int(value: int) -> object:
    return (int, value) if -(2**63) < value < 2**63 else (id(value), value.bit_length())


def _mark_text(value: str | bytes) -> object:
    if len(value) <= HASHED_CHARACTERS:
        return type(value), len(value), hash(value)
    return id(value), len(value)


def _mark_sequence(value: list[object] | tuple[object, ...]) -> object:
    size = len(value)
    if size <= SMALL:
        return id(value), size, hash(tuple(map(id, value)))
    return id(value), size, id(value[0]), id(value[size // 2]), id(value[-1])


def _mark_dict(value: dict[object, object]) -> object:
    size = len(value)
    if size <= SMALL:
        return id(value), size, hash(tuple(map(id, value.values())))
    return id(value), size


def _mark_sized(value: Sized) -> object:
    return id(value), len(value)


def _mark_bytearray(value: bytearray) -> object:
    return id(value), len(value), hash(bytes(value[:DIGEST_BYTES]))


def _mark_array(value: Any) -> object:
    """Identity, shape and some of the data, so that `a += 1` shows."""
    kind = value.dtype.kind
    size = value.size
    data: object = None
    if kind in "biufcmM" and size:
        if value.nbytes <= DIGEST_BYTES:
            data = hash(value.tobytes())
        else:
            flat = value.flat
            data = hash(b"".join(flat[i].tobytes() for i in (0, size // 2, size - 1)))
    return id(value), value.shape, kind, data


def _mark_table(value: Any) -> object:
    """Identity, shape and the arrays below: a column that is set anew brings a new array."""
    array_type = _class(NUMPY, "ndarray")
    marks = [
        _mark_array(array) if type(array) is array_type else id(array)
        for array in _table_arrays(value)[:SMALL]
    ]
    return id(value), value.shape, marks


def _table_arrays(value: Any) -> list[Any]:
    """The arrays that hold a pandas table's data; none if pandas keeps them elsewhere."""
    blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
    return [block.values for block in blocks]


MARKS: dict[type, Callable[[Any], object]] = {
    int: _mark_int,
    str: _mark_text,
    bytes: _mark_text,
    list: _mark_sequence,
    tuple: _mark_sequence,
    dict: _mark_dict,
    set: _mark_sized,
    frozenset: _mark_sized,
    range: _mark_sized,
    bytearray: _mark_bytearray,
    deque: _mark_sized,
    OrderedDict: _mark_dict,
    defaultdict: _mark_dict,
    Counter: _mark_dict,
}
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
CONTAINERS = (*MAPPINGS, list, tuple, set, frozenset, deque)


# ---- sizes ------------------------------------------------------------------------------------


def _size(value: Any) -> tuple[str, int]:
    """How large `value` is, for a reader and in bytes: estimated for a container, 0 if unknown."""
    kind = type(value)
    if kind in (str, bytes, bytearray):
        unit = "characters" if kind is str else "bytes"
        return _count(len(value), unit), sys.getsizeof(value)
    if kind in CONTAINERS:
        return _count(len(value), "items"), _container_bytes(value)
    if kind is int or kind in SCALARS or kind is range:
        return (_count(len(value), "items") if kind is range else ""), sys.getsizeof(value)
    if kind is _class(NUMPY, "ndarray"):
        return f"{value.shape} {value.dtype}"[:NAME_CAP], value.nbytes
    if kind is _class(PANDAS, "DataFrame") or kind is _class(PANDAS, "Series"):
        return _table_size(value)
    return "", 0


def _count(number: int, unit: str) -> str:
    return f"{number} {unit[:-1] if number == 1 else unit}"


def _container_bytes(value: Any) -> int:
    """Bytes of the container and, from a few of them, of its items; one level deep."""
    own = sys.getsizeof(value)
    if not value:
        return own
    try:
        if type(value) in MAPPINGS:
            few = [each for pair in islice(value.items(), SAMPLE) for each in pair]
            width = 2
        else:
            few = list(islice(value, SAMPLE))
            width = 1
    except RuntimeError:  # A thread of the snippet changes it right now.
        return own
    sizes = [
        sys.getsizeof(each)
        if type(each) in MARKS or type(each) in SCALARS
        else object.__sizeof__(each)
        for each in few
    ]
    usual = sorted(sizes)[len(sizes) // 2]
    return own + sum(sizes) + usual * (len(value) * width - len(sizes))


def _table_size(value: Any) -> tuple[str, int]:
    shape = value.shape
    text = _count(shape[0], "rows")
    if len(shape) == 2:
        text += f" x {_count(shape[1], 'columns')}"
    return text, sum(int(getattr(array, "nbytes", 0)) for array in _table_arrays(value))
