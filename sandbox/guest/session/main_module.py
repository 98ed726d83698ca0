"""The session's `__main__` for processes that start anew: `spawn` and `forkserver`.

Such a process imports the program that started it, to find the functions and classes that it is
sent by name. A session is no program: its snippets must not run again. So a file is written that
has of them what a program has at its top: imports, functions, classes, constants, and the values
of other variables that those name, where these can be pickled.
"""

import ast
import io
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from sandbox.guest.language.sources import Sources
from sandbox.guest.notebook import forms
from sandbox.guest.session.compiler import AWAIT

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
VALUES_CAP = 32 * 1024 * 1024
"""Bytes that the values of variables may take, pickled."""
HEAD = "from __future__ import annotations\n"
LOADS = """\
import pickle as _pickle
with open({path!r}, "rb") as _stream:
    for _name, _data in _pickle.load(_stream).items():
        try:
            globals()[_name] = _pickle.loads(_data)
        except Exception:
            pass
"""


class MainModule:
    """Writes the file, when a process is about to be started."""

    def __init__(self, sources: Sources, namespace: dict[str, Any]) -> None:
        self._sources = sources
        self._namespace = namespace

    def teach(self, spawn: ModuleType) -> None:
        """Have `multiprocessing` tell new processes of the file."""
        prepare: Callable[[str], dict[str, Any]] = spawn.get_preparation_data

        def get_preparation_data(name: str) -> dict[str, Any]:
            data = prepare(name)
            known = data.get("init_main_from_path")
            if "init_main_from_name" not in data and not (known and os.path.exists(known)):
                data["init_main_from_path"] = self._write()
            return data

        setattr(spawn, "get_preparation_data", get_preparation_data)  # noqa: B010

    def _write(self) -> str:
        directory = os.path.join(os.environ.get("HOME") or tempfile.gettempdir(), ".cellblock")
        os.makedirs(directory, exist_ok=True)
        statements = list(_kept(self._sources.texts()))
        values = _pickled(self._namespace, _named(statements) - _bound(statements))
        text = HEAD if _has_future(self._sources.texts()) else ""
        if values:
            # A new name each time: an earlier process may still be reading.
            fd, path = tempfile.mkstemp(prefix="values-", dir=directory)
            with open(fd, "wb") as stream:
                pickle.dump(values, stream)
            text += LOADS.format(path=path)
        text += "\n".join(map(_as_text, statements)) + "\n"
        fd, path = tempfile.mkstemp(prefix="main-", suffix=".py", dir=directory)
        with open(fd, "w") as stream:
            stream.write(text)
        return path


def _as_text(statement: ast.stmt) -> str:
    text = ast.unparse(statement)
    if isinstance(statement, IMPORTS):
        # It may not be what the process needs, or be there in the session alone.
        return f"try:\n    {text}\nexcept ImportError:\n    pass"
    return text


def _parsed(texts: Iterable[str]) -> Iterator[ast.stmt]:
    for text in texts:
        tree = _tree(text)
        if tree is None:
            rewritten = forms.rewrite(text)
            tree = _tree(rewritten) if rewritten is not None else None
        if tree is not None:  # Else it did not run either.
            yield from tree.body


def _tree(text: str) -> ast.Module | None:
    try:
        tree = compile(text, "<snippet>", "exec", AWAIT | ast.PyCF_ONLY_AST, True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    assert isinstance(tree, ast.Module)
    return tree


def _kept(texts: Iterable[str]) -> Iterator[ast.stmt]:
    """The statements that define something and do nothing else."""
    for statement in _parsed(texts):
        if isinstance(statement, IMPORTS):
            if getattr(statement, "module", None) != "__future__":
                yield statement
        elif isinstance(statement, DEFINITIONS) or (
            isinstance(statement, ast.Assign) and _is_constant(statement.value)
        ):
            yield statement


def _has_future(texts: Iterable[str]) -> bool:
    return any(
        isinstance(statement, ast.ImportFrom)
        and statement.module == "__future__"
        and any(alias.name == "annotations" for alias in statement.names)
        for statement in _parsed(texts)
    )


def _is_constant(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant | ast.Lambda)


def _named(statements: list[ast.stmt]) -> set[str]:
    """Names that the statements read anywhere inside."""
    return {
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _bound(statements: list[ast.stmt]) -> set[str]:
    """Names that the statements define at the top."""
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, DEFINITIONS):
            names.add(statement.name)
        elif isinstance(statement, IMPORTS):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return names


def _pickled(namespace: dict[str, Any], names: set[str]) -> dict[str, bytes]:
    """The variables among `names` that can be pickled, as far as they fit."""
    found: dict[str, bytes] = {}
    left = VALUES_CAP
    for name in sorted(names & namespace.keys()):
        if isinstance(namespace[name], ModuleType):
            continue
        stream = _Bounded(left)
        try:
            pickle.dump(namespace[name], stream, pickle.HIGHEST_PROTOCOL)
        # What cannot be pickled, for any reason of its own, stays unknown in the new process.
        except Exception:  # noqa: BLE001, S112
            continue
        found[name] = stream.getvalue()
        left -= len(found[name])
    return found


class _Bounded(io.BytesIO):
    """Takes so many bytes and no more."""

    def __init__(self, cap: int) -> None:
        super().__init__()
        self._cap = cap

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.tell() + size > self._cap:
            raise OverflowError
        return super().write(data)
