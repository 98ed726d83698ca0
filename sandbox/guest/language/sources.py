"""Source text of the session's snippets: kept for tracebacks, `inspect` and `doctest`."""

import io
import linecache
import re
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from sandbox.guest.language.code_origin import SNIPPET_FILE
from sandbox.guest.language.hooks import ImportHooks

FIRST_INDENT = re.compile(r"(?:[ \t\f]*(?:#.*)?\n)*([ \t]+)[^\s#]")
BEFORE_STATEMENT = " \t\f\n#"
SNIPPETS_KEPT = 500
CHARACTERS_KEPT = 32 * 1024 * 1024

Entry = tuple[int, None, list[str], str]


class Sources:
    """The last snippets of a session, where `linecache` finds them."""

    def __init__(self, hooks: ImportHooks) -> None:
        self._entries: dict[str, Entry] = {}
        self._characters = 0
        hooks.when_imported("inspect", self._teach_inspect)

    def add(self, number: int, code: str) -> tuple[str, str]:
        """Keep snippet `number`. Returns its file name and its text as the compiler wants it."""
        text = code.removeprefix("\ufeff")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = without_first_indent(text)
        lines = io.StringIO(text).readlines()
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        file = f"{SNIPPET_FILE}{number}>"
        self._drop(file)
        # Without a time of change, checkcache() leaves an entry alone.
        self._entries[file] = linecache.cache[file] = (len(text), None, lines, file)
        self._characters += len(text)
        while len(self._entries) > SNIPPETS_KEPT or self._characters > CHARACTERS_KEPT:
            oldest = next(iter(self._entries))
            if oldest == file:
                break
            self._drop(oldest)
            linecache.cache.pop(oldest, None)
        return file, text

    def forget(self, number: int) -> None:
        """Drop snippet `number`."""
        file = f"{SNIPPET_FILE}{number}>"
        self._drop(file)
        linecache.cache.pop(file, None)

    def lines(self, file: str) -> list[str]:
        """The lines of a kept snippet, each with its end."""
        return self._entries[file][2]

    def text_of(self, number: int) -> str:
        """The text of snippet `number`; empty if it is not kept."""
        entry = self._entries.get(f"{SNIPPET_FILE}{number}>")
        return "".join(entry[2]) if entry is not None else ""

    def texts(self) -> list[str]:
        """The kept snippets, oldest first."""
        return ["".join(entry[2]) for entry in self._entries.values()]

    def restore(self) -> None:
        """Put back what the snippet may have cleared from `linecache`."""
        for file, entry in self._entries.items():
            linecache.cache.setdefault(file, entry)

    def _drop(self, file: str) -> None:
        entry = self._entries.pop(file, None)
        if entry is not None:
            self._characters -= entry[0]

    # ---- classes ------------------------------------------------------------------------------

    def _teach_inspect(self, inspect: ModuleType) -> None:
        """Let `inspect.getsource` find classes: `__main__` has no file that would lead to them."""
        find: Callable[[Any], str] = inspect.getfile

        def getfile(object: Any) -> str:
            if isinstance(object, type) and object.__module__ == "__main__":
                file = self._file_of(object)
                if file is not None:
                    return file
            return find(object)

        getfile.__doc__ = find.__doc__
        setattr(inspect, "getfile", getfile)  # noqa: B010

    def _file_of(self, kind: type) -> str | None:
        """The snippet that defines `kind`: its methods tell; else the last that has its name."""
        for member in vars(kind).values():
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if type(function) is FunctionType:
                code = function.__code__
                if (
                    code.co_filename in self._entries
                    and code.co_qualname == f"{kind.__qualname__}.{code.co_name}"
                ):
                    return code.co_filename
        definition = re.compile(rf"[ \t]*class[ \t]+{re.escape(kind.__name__)}\b")
        for file, entry in reversed(self._entries.items()):
            if any(map(definition.match, entry[2])):
                return file
        return None


def without_first_indent(text: str) -> str:
    """`text` with the indentation of its first statement taken off each line that has it.

    Such a text is no program; notebooks run it, and models write it.
    """
    found = FIRST_INDENT.match(text) if text[:1] in BEFORE_STATEMENT else None
    if found is None:
        return text
    return re.sub(rf"^{found[1]}", "", text, flags=re.MULTILINE)
