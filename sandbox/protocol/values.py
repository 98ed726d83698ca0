"""Values between host and guest: JSON, bytes, arrays and tables, without code in any of them.

A value is a kind and bytes. Arrays travel as npy, tables as their columns, each as npy or as a
JSON list, Arrow tables as Arrow's own stream. Nothing is pickled, and what is read is measured
before it is built: an array's header must fit the bytes that follow it. Both sides use this; it
loads numpy, pandas and pyarrow only for values that are theirs.
"""

import importlib
import io
import json
import math
import re
import struct
import sys
from typing import Any, Literal, NamedTuple, get_args

from sandbox.protocol.arrow_stream import check_stream
from sandbox.protocol.long_json import TooMuch, read_long_json

ValueKind = Literal["json", "bytes", "npy", "frame", "series", "arrow"]
KINDS = get_args(ValueKind)
NESTING_CAP = 100
INTEGER_BITS_CAP = 14_000
"""Python reads and writes 4300 digits: sys.get_int_max_str_digits."""
HEADER_CAP_BYTES = 16 * 1024 * 1024
NPY_HEADER_CAP = 10_000
COLUMNS_CAP = 100_000
ZONE = re.compile(r"(?!dateutil)[A-Za-z0-9_+:-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}")
"""Names of time zones; a path would have the reader open a file of its own machine."""
PLAIN_DTYPES = "biufcmMSU"
"""Kinds of numpy's types that are numbers, times or text alone; see numpy.dtype.kind."""
_LENGTH = struct.Struct("<Q")


class ValueRefused(ValueError):
    """A value that cannot travel, or bytes that are none."""


class Packed(NamedTuple):
    """A value as it travels."""

    kind: str
    data: bytes


def pack_value(value: object) -> Packed:
    """`value` as bytes. Raises ValueRefused that says what of it cannot travel."""
    if isinstance(value, bytes | bytearray | memoryview):
        return Packed("bytes", bytes(value))
    numpy, pandas, pyarrow = map(sys.modules.get, ("numpy", "pandas", "pyarrow"))
    if numpy is not None and isinstance(value, numpy.generic) and value.dtype.kind not in "mM":
        value = value.item()
    if numpy is not None and isinstance(value, numpy.ndarray):
        if isinstance(value, numpy.ma.MaskedArray):
            raise ValueRefused("an array with a mask cannot travel; its data and its mask can")
        return Packed("npy", _npy(value, "the array"))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        names = [_plain_name(name) for name in value.columns]
        columns = [value.iloc[:, number] for number in range(len(names))]
        return Packed("frame", _table(names, columns, value.index))
    if pandas is not None and isinstance(value, pandas.Series):
        return Packed("series", _table([_plain_name(value.name)], [value], value.index))
    if pyarrow is not None and isinstance(value, pyarrow.Table):
        stream = io.BytesIO()
        with _module("pyarrow.ipc").new_stream(stream, value.schema) as writer:
            writer.write_table(value)
        return Packed("arrow", stream.getvalue())
    _check_plain(value, 0)
    return Packed("json", json.dumps(value, allow_nan=True).encode())


def unpack_value(packed: Packed) -> Any:
    """The value in `packed`. Raises ValueRefused for what is none, ImportError for a library."""
    kind, data = packed
    try:
        if kind == "json":
            return _json(data)
        if kind == "bytes":
            return data
        if kind == "npy":
            return _array(data)
        if kind in ("frame", "series"):
            return _read_table(kind, data)
        if kind == "arrow":
            return _read_arrow(data)
    except (ValueRefused, ImportError):
        raise
    # The bytes are a stranger's, and what libraries raise about those is any error at all.
    except Exception as error:  # noqa: BLE001
        raise ValueRefused(f"no value of kind {kind}: {type(error).__name__}: {error}") from None
    raise ValueRefused(f"{kind} is no kind of value")


def _json(data: bytes) -> Any:
    try:
        return read_long_json(data)
    except TooMuch as error:
        raise ValueRefused(str(error)) from None


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _check_plain(value: object, depth: int) -> None:
    """Raise unless `value` is what JSON has, to the same types."""
    if depth > NESTING_CAP:
        raise ValueRefused(f"it is nested deeper than {NESTING_CAP}")
    if type(value) is int and value.bit_length() > INTEGER_BITS_CAP:
        raise ValueRefused(f"a number of {value.bit_length()} bits cannot travel; as bytes it can")
    if value is None or type(value) in (bool, int, float, str):
        return
    if type(value) in (list, tuple):
        for item in value:  # type: ignore[attr-defined]
            _check_plain(item, depth + 1)
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValueRefused(f"a key is a {type(key).__name__}, and JSON has texts alone")
            _check_plain(item, depth + 1)
    else:
        raise ValueRefused(f"a {type(value).__module__}.{type(value).__qualname__} cannot travel")


def _plain_name(name: object) -> object:
    if name is None or type(name) in (str, int, float, bool):
        return name
    raise ValueRefused(f"the column {name!r} has a name that is no text and no number")


# ---- arrays -------------------------------------------------------------------------------------


def _npy(array: Any, what: str) -> bytes:
    if array.dtype.kind not in PLAIN_DTYPES:
        raise ValueRefused(f"{what} has the type {array.dtype}, which is not plain")
    stream = io.BytesIO()
    _module("numpy").lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _array(data: bytes) -> Any:
    numpy = _module("numpy")
    stream = io.BytesIO(data)
    version = numpy.lib.format.read_magic(stream)
    read = {
        (1, 0): numpy.lib.format.read_array_header_1_0,
        (2, 0): numpy.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read(stream, max_header_size=NPY_HEADER_CAP)
    if dtype.kind not in PLAIN_DTYPES:
        raise ValueRefused(f"an array of type {dtype}")
    rest = memoryview(data)[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(rest) or any(size < 0 for size in shape):
        raise ValueRefused("an array whose size is not that of its bytes")
    array = numpy.frombuffer(rest, dtype=dtype).copy()
    return array.reshape(shape, order="F" if is_fortran else "C")


def _read_arrow(data: bytes) -> Any:
    """The table of a stream whose columns are of Arrow's own types and point into its own bytes."""
    check_stream(data)
    with _module("pyarrow.ipc").open_stream(data) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


# ---- tables -------------------------------------------------------------------------------------


def _table(names: list[object], columns: list[Any], index: Any) -> bytes:
    parts, rows = [], []
    series = _module("pandas").Series
    index_names = [_plain_name(name) for name in index.names]
    levels = [index.get_level_values(number) for number in range(index.nlevels)]
    for name, column in (
        *zip(names, columns, strict=True),
        *((name, series(level)) for name, level in zip(index_names, levels, strict=True)),
    ):
        how, data = _column(name, column)
        rows.append([name, how, str(column.dtype), len(data)])
        parts.append(data)
    header = json.dumps({"columns": rows, "levels": len(levels)}).encode()
    return b"".join([_LENGTH.pack(len(header)), header, *parts])


def _column(name: object, column: Any) -> tuple[str, bytes]:
    what = f"the column {name!r}"
    tz = getattr(column.dtype, "tz", None)
    if tz is not None:
        return f"tz:{tz}", _npy(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), what)
    if getattr(column.dtype, "kind", "O") in "biufcmM" and not hasattr(column.dtype, "na_value"):
        return "npy", _npy(column.to_numpy(), what)
    pandas = _module("pandas")
    values = [None if pandas.api.types.is_scalar(one) and pandas.isna(one) else one
              for one in column.tolist()]  # fmt: skip
    try:
        _check_plain(values, 0)
    except ValueRefused as error:
        raise ValueRefused(f"{what}: {error}") from None
    return "json", json.dumps(values).encode()


def _read_table(kind: str, data: bytes) -> Any:
    pandas = _module("pandas")
    (length,) = _LENGTH.unpack_from(data)
    if length > HEADER_CAP_BYTES:
        raise ValueRefused("a table with a header that is too long")
    start = _LENGTH.size + length
    header = _json(data[_LENGTH.size : start])
    found = []
    if len(header["columns"]) > COLUMNS_CAP:
        raise ValueRefused(f"a table of more than {COLUMNS_CAP} columns")
    for name, how, dtype, size in header["columns"]:
        if type(size) is not int or not 0 <= size <= len(data) - start:
            raise ValueRefused("a column whose size is not that of its bytes")
        part, start = data[start : start + size], start + size
        found.append((name, _read_column(str(how), str(dtype), part)))
    levels = int(header["levels"])
    columns, index = found[: len(found) - levels], found[len(found) - levels :]
    if levels == 1:
        made = pandas.Index(index[0][1], name=index[0][0])
    else:
        made = pandas.MultiIndex.from_arrays([one for _name, one in index],
                                             names=[name for name, _one in index])  # fmt: skip
    if kind == "series":
        return pandas.Series(columns[0][1].array, index=made, name=columns[0][0])
    frame = pandas.DataFrame({number: one.array for number, (_n, one) in enumerate(columns)})
    frame.index = made
    frame.columns = pandas.Index([name for name, _one in columns])
    return frame


def _read_column(how: str, dtype: str, data: bytes) -> Any:
    pandas = _module("pandas")
    if how == "npy":
        return pandas.Series(_array(data))
    if how.startswith("tz:"):
        if not ZONE.fullmatch(how.removeprefix("tz:")):
            raise ValueRefused("a time zone that has no plain name")
        times = pandas.Series(_array(data))
        return times.dt.tz_localize("UTC").dt.tz_convert(how.removeprefix("tz:"))
    values = _json(data)
    if dtype in ("category", "string", "str", "boolean", "Int64", "Float64"):
        return pandas.Series(values, dtype=dtype)
    return pandas.Series(values, dtype=object)
