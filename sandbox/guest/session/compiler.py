"""Source text of a snippet to code: the statements, and a last bare expression to be echoed."""

import __future__

import ast
import re
from contextlib import suppress
from types import CodeType
from typing import NamedTuple

from sandbox.protocol.plan import Language

TREE_CAP = 100_000
"""Characters up to which a syntax tree is made: a tree takes a hundred times its text."""
LINE_CAP = 200
NO_EXPRESSION = re.compile("[=;\n]")
"""A short text without these is first taken for an expression, for which no tree is needed."""
TOO_DEEP = "the source is nested too deeply, or too large, to compile"
TAILS_TRIED = 20
TAIL_LINES = 200

AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
FUTURES = 0
for _name in __future__.all_feature_names:
    FUTURES |= getattr(__future__, _name).compiler_flag


class Compiled(NamedTuple):
    """Code of the statements and of a last expression; a coroutine's if it awaits."""

    body: CodeType | None
    echo: CodeType | None
    is_silent: bool = False
    """Whether the value of `echo` is not to be shown."""
    steps: tuple[CodeType, ...] = ()
    """In place of `body`, the statements one by one, where one that raises does not end the run."""


class Refused(NamedTuple):
    """The first construct that the language level does not allow."""

    line: int
    reason: str


class Compiler:
    """Compiles the snippets of a session; `from __future__` holds from then on."""

    def __init__(self, language: Language, *, keeps_going: bool = False) -> None:
        self._flags = AWAIT
        self._keeps_going = keeps_going
        self._language = language

    def compile(self, text: str, file: str, lines: list[str]) -> Compiled | Refused:
        """The code of `text`, which has `lines`. Raises what the compiler raises.

        A character that no source may hold is a SyntaxError that names its line.
        """
        if "\0" in text:
            raise _misplaced(text, file, text.index("\0"), "source cannot contain null bytes")
        try:
            if self._language == "restricted":
                return _compile_restricted(text, file, lines)
            if len(text) <= LINE_CAP and not NO_EXPRESSION.search(text):
                with suppress(SyntaxError, RecursionError, MemoryError):
                    return Compiled(None, self._compile(text, file, "eval"))
            if len(text) <= TREE_CAP:
                # Trees of Python objects stop at depths that the compiler still takes.
                with suppress(RecursionError, MemoryError):
                    return self._compile_tree(text, file, lines)
            return self._compile_text(text, file)
        except MemoryError as error:
            raise MemoryError(*(error.args or (TOO_DEEP,))) from None
        except UnicodeEncodeError as error:
            raise _misplaced(text, file, error.start, "source holds a lone surrogate") from None

    def _compile_tree(self, text: str, file: str, lines: list[str]) -> Compiled:
        tree = compile(text, file, "exec", self._flags | ast.PyCF_ONLY_AST, True)
        body = echo = None
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not _is_silenced(last, lines):
            tree.body.pop()
        else:
            last = None
        steps: tuple[CodeType, ...] = ()
        if self._keeps_going:
            one_each = (ast.Module([statement], tree.type_ignores) for statement in tree.body)
            steps = tuple(self._compile(one, file, "exec") for one in one_each)
        elif tree.body:
            body = self._compile(tree, file, "exec")
        if isinstance(last, ast.Expr):
            echo = self._compile(ast.Expression(last.value), file, "eval")
        return Compiled(body, echo, steps=steps)

    def _compile_text(self, text: str, file: str) -> Compiled:
        """As `_compile_tree`, without a tree: an echo is found if it starts its line."""
        for start in _line_starts(text):
            tail = "\n" * text.count("\n", 0, start) + text[start:]
            try:
                echo = self._compile(tail, file, "eval")
            except SyntaxError:
                continue
            except (RecursionError, MemoryError):
                break
            if not text[:start].strip():
                return Compiled(None, echo)
            try:
                return Compiled(self._compile(text[:start], file, "exec"), echo)
            except SyntaxError:
                break
        return Compiled(self._compile(text, file, "exec"), None)

    def _compile(self, source: str | ast.Module | ast.Expression, file: str, mode: str) -> CodeType:
        code: CodeType = compile(source, file, mode, self._flags, True)
        self._flags |= code.co_flags & FUTURES
        return code


def _compile_restricted(text: str, file: str, lines: list[str]) -> Compiled | Refused:
    from sandbox.guest.language import restricted

    found = restricted.compile_module(text, file)
    if isinstance(found, restricted.Refusal):
        return Refused(found.line, found.reason)
    body, echo = found
    if echo is not None and ";" in text:
        last = restricted.parse(text, file).body[-1]
        if isinstance(last, ast.Expr) and _is_silenced(last, lines):
            return Compiled(body, echo, True)
    return Compiled(body, echo)


def _is_silenced(last: ast.Expr, lines: list[str]) -> bool:
    """Whether a semicolon follows the last expression."""
    if last.end_lineno is None or last.end_col_offset is None:
        return False
    rest = lines[last.end_lineno - 1].encode()[last.end_col_offset :].lstrip()
    return rest.startswith(b";") or (
        rest.startswith(b"\\") and lines[last.end_lineno].lstrip().startswith(";")
    )


def _line_starts(text: str) -> list[int]:
    """Where the last statement may start, nearest to the end first."""
    starts: list[int] = []
    end = len(text)
    for _ in range(TAIL_LINES):
        start = text.rfind("\n", 0, end) + 1
        if start < len(text) and text[start] not in " \t\f\n#)]}":
            starts.append(start)
        if start == 0 or len(starts) == TAILS_TRIED:
            break
        end = start - 1
    return starts


def _misplaced(text: str, file: str, place: int, message: str) -> SyntaxError:
    """A SyntaxError at one character, its line in a form that can be printed."""
    start = text.rfind("\n", 0, place) + 1
    before = text[start:place].encode("utf-8", "backslashreplace").decode()
    end = text.find("\n", place)
    after = text[place : len(text) if end < 0 else end].encode("utf-8", "backslashreplace").decode()
    line = before + after.replace("\0", "\\x00")
    return SyntaxError(message, (file, text.count("\n", 0, place) + 1, len(before) + 1, line))
