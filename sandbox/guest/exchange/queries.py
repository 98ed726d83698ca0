"""Answers what the host asks of the variables between snippets: values, names, completions.

What runs here runs in the session, at the guest's own risk; the host believes none of it.
"""

import codeop
import contextlib
import inspect
import json
import keyword
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

from sandbox.guest.exchange.host_tools import is_offered
from sandbox.protocol.values import KINDS, Packed, ValueRefused, pack_value, unpack_value

NAMED = 10
NAMES_CHARS = 300
VARIABLES_CAP = 1_000
MATCHES_CAP = 500
PREVIEW_CHARS = 120
PREVIEW_ITEMS = 5
DOCUMENTED_CHARS = 20_000
READ_BYTES = 1 << 20
PLAIN = (bool, int, float, complex, str, bytes, type(None))
_TOKEN = re.compile(r"[^\W\d][\w.]*$|\.$")
MAGIC = re.compile(r"[%!?]|.*\?\s*$")


class Answer(NamedTuple):
    """A JSON text, or why there is none."""

    body: str
    refusal: str = ""


def answer(kind: str, text: str, number: int, namespace: dict[str, Any], fd: int) -> Answer:
    """The answer to one question; `fd` is the file that a value comes from or goes to."""
    try:
        return ANSWERS[kind](text, number, namespace, fd)
    # Guest code may run in here, a property or a `__repr__`, and what it raises is its own: the
    # session goes on after SystemExit, too.
    except BaseException as error:  # noqa: BLE001
        return Answer("", _words(error)[:900])


def _words(error: BaseException) -> str:
    """What is known of `error`, whose own text may raise too."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException:  # noqa: BLE001
        return name


def _set(text: str, _number: int, namespace: dict[str, Any], fd: int) -> Answer:
    kind, _, name = text.partition(" ")
    if kind not in KINDS or not name.isidentifier() or keyword.iskeyword(name):
        return Answer("", f"{name!r} is no name of a variable")
    with open(fd, "rb", closefd=False) as stream:
        data = stream.read()
    namespace[name] = unpack_value(Packed(kind, data))
    return Answer("null")


def _get(text: str, _number: int, namespace: dict[str, Any], fd: int) -> Answer:
    if text not in namespace:
        return Answer("", f"there is no variable {text!r}{_others(text, namespace)}")
    try:
        kind, data = pack_value(namespace[text])
    except ValueRefused as error:
        return Answer("", str(error))
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[:READ_BYTES]) :]
    return Answer(json.dumps(kind))


def _others(name: str, namespace: dict[str, Any]) -> str:
    """Which variables there are, as the rest of a sentence."""
    names = sorted(
        one
        for one, value in list(namespace.items())
        if isinstance(one, str)
        and not one.startswith("_")
        and not isinstance(value, ModuleType)
        and one not in ("In", "Out")
        and not is_offered(value)
    )
    names.sort(key=lambda one: one[:1].lower() != name[:1].lower())
    if not names:
        return ": there are none yet"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f". There are {', '.join(names[:NAMED])}{more}"[:NAMES_CHARS]


def _variables(_text: str, _number: int, namespace: dict[str, Any], _fd: int) -> Answer:
    rows: list[list[object]] = []
    for name, value in list(namespace.items()):
        if name.startswith("_") or isinstance(value, ModuleType) or name in ("In", "Out"):
            continue
        if is_offered(value):
            continue
        if len(rows) == VARIABLES_CAP:
            break
        rows.append([name, _type_name(value), _shape(value), _size(value), preview(value)])
    return Answer(json.dumps(rows))


def _complete(text: str, number: int, namespace: dict[str, Any], _fd: int) -> Answer:
    before = text[:number]
    found = _TOKEN.search(before)
    token = found[0] if found else ""
    root, dot, start = token.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dot:
            names = _attributes(root, namespace)
        else:
            names = [*namespace, *dir(sys.modules["builtins"]), *keyword.kwlist]
    matches = sorted({name for name in names if isinstance(name, str) and name.startswith(start)})
    if not start.startswith("_"):
        matches = [name for name in matches if not name.startswith("_")]
    return Answer(json.dumps([matches[:MATCHES_CAP], len(before) - len(start), number]))


def _attributes(dotted: str, namespace: dict[str, Any]) -> list[str]:
    """Return what can follow `dotted` and a dot: nothing where it leads to nothing."""
    # Half of a line names much that is not there; a property may fail in any way.
    with suppress(Exception):
        return dir(_value_of(dotted, namespace))
    return []


def _inspect(text: str, _number: int, namespace: dict[str, Any], _fd: int) -> Answer:
    value = _value_of(text.strip().rstrip("?"), namespace)
    signature = ""
    with contextlib.suppress(ValueError, TypeError):
        signature = str(inspect.signature(value))
    documented = inspect.getdoc(value) or ""
    return Answer(
        json.dumps([_type_name(value), signature, documented[:DOCUMENTED_CHARS], preview(value)])
    )


def _is_complete(text: str, _number: int, _namespace: dict[str, Any], _fd: int) -> Answer:
    if MAGIC.match(text):
        return Answer('"complete"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compiled = codeop.compile_command(text, symbol="exec")
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return Answer('"complete"' if _compiles_with_await(text) else '"invalid"')
    if compiled is None:
        return Answer('"incomplete"')
    # After a block, a reader of lines waits for an empty one.
    last = text.rsplit("\n", 1)[-1]
    is_open = "\n" in text and last.startswith((" ", "\t")) and bool(last.strip())
    return Answer('"incomplete"' if is_open else '"complete"')


def _compiles_with_await(text: str) -> bool:
    import ast

    try:
        compile(text, "<input>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False
    return True


ANSWERS: Mapping[str, Callable[[str, int, dict[str, Any], int], Answer]] = {
    "set": _set,
    "get": _get,
    "variables": _variables,
    "complete": _complete,
    "inspect": _inspect,
    "is_complete": _is_complete,
}


def _value_of(dotted: str, namespace: dict[str, Any]) -> Any:
    """What a dotted name leads to; nothing of it is called but properties."""
    first, *rest = dotted.split(".")
    if first in namespace:
        value = namespace[first]
    elif hasattr(sys.modules["builtins"], first):
        value = getattr(sys.modules["builtins"], first)
    else:
        raise NameError(f"name {first!r} is not defined")
    for name in rest:
        value = getattr(value, name)
    return value


def _type_name(value: object) -> str:
    kind = type(value)
    module = kind.__module__
    where = "" if module in ("builtins", "__main__") else f"{module.partition('.')[0]}."
    return f"{where}{kind.__qualname__}"


def _shape(value: Any) -> list[int] | None:
    # A property may be the session's own, and fail in any way.
    with suppress(Exception):
        shape = value.shape
        if isinstance(shape, tuple) and all(type(size) is int for size in shape):
            return list(shape)
    if type(value) in (str, bytes, bytearray, list, tuple, dict, set, frozenset):
        return [len(value)]
    return None


def _size(value: Any) -> int:
    """Bytes that the value itself takes, its buffers included; not what its items refer to."""
    with suppress(Exception):
        total = value.memory_usage(deep=False)
        return int(total if isinstance(total, int) else getattr(total, "sum", int)())
    with suppress(Exception):
        if type(size := value.nbytes) is int:
            return size
    return sys.getsizeof(value, 0)


def preview(value: Any) -> str:
    """A short text of `value`; a class of the guest's own is named and not asked."""
    kind = type(value)
    if kind in PLAIN:
        text = repr(value[: PREVIEW_CHARS + 1] if isinstance(value, str | bytes) else value)
    elif kind in (list, tuple, set, frozenset, dict):
        text = _preview_items(value)
    elif _type_name(value).partition(".")[0] in ("pandas", "numpy"):
        shape = _shape(value)
        columns = getattr(value, "columns", None)
        names = [str(one) for one in list(columns)[:PREVIEW_ITEMS]] if columns is not None else []
        more = f" {names}" if names else ""
        head = repr(value.ravel()[:PREVIEW_ITEMS].tolist()) if hasattr(value, "ravel") else ""
        text = f"{kind.__name__} {shape}{more or ' ' + head}"
    elif callable(value):
        text = f"{getattr(value, '__name__', kind.__name__)}(...)"
    else:
        text = f"<{_type_name(value)}>"
    return text if len(text) <= PREVIEW_CHARS else text[: PREVIEW_CHARS - 3] + "..."


def _preview_items(value: Any) -> str:
    pairs = value.items() if type(value) is dict else ((item,) for item in value)
    shown: list[str] = []
    for pair in pairs:
        if len(shown) == PREVIEW_ITEMS:
            shown.append("...")
            break
        shown.append(": ".join(_leaf(item) for item in pair))
    opened, closed = "[]" if type(value) is list else "()" if type(value) is tuple else "{}"
    return f"{opened}{', '.join(shown)}{closed}"


def _leaf(item: object) -> str:
    if type(item) in PLAIN:
        return repr(item[:40] if isinstance(item, str | bytes) else item)
    return f"<{_type_name(item)}>"
