"""What notebooks add to Python, for snippets that are no Python without it: `%time`, `!ls`, `x?`.

A snippet that compiles is never looked at here. In one that does not, the line that the compiler
stumbles over is rewritten into a call, if it is one of these forms, and the compiler asked again;
so nothing inside of a text or a bracket is taken for one. Line numbers stay what they were.
"""

import ast
import re
import warnings
from collections.abc import Callable

from sandbox.guest.session.compiler import AWAIT

NAME = "__notebook__"
"""What rewritten lines call."""
REWRITES_CAP = 200
MAGIC = re.compile(r"(\s*)%(\w+)[ \t]*(.*)", re.DOTALL)
SHELL = re.compile(r"(\s*)!{1,2}(.*)", re.DOTALL)
ASSIGNED = re.compile(r"(\s*[^=!%?#'\"]+?)\s*=\s*(!|%)(.*)", re.DOTALL)
ASKED_BEFORE = re.compile(r"(\s*)(\?{1,2})\s*([\w.\[\]'\"()]+)\s*;?\s*")
ASKED_AFTER = re.compile(r"(\s*)%{0,2}([\w.\[\]'\"()]+?)(\?{1,2})\s*;?\s*")
CELL = re.compile(r"\s*%%(\w+)[ \t]*([^\n]*)\n?(.*)", re.DOTALL)
AROUND = ("time", "capture")
"""Cell magics whose body is the snippet itself, line magics and all."""


def rewrite(text: str) -> str | None:
    """`text` as Python; None if its mistakes are others than these forms."""
    if not any(sign in text for sign in "%!?"):
        return None
    cell = CELL.fullmatch(text)
    if cell is not None:
        name, arguments, body = cell.groups()
        before = text.count("\n", 0, cell.start(1))
        if name not in AROUND:
            return "\n" * before + f"{NAME}.cell({name!r}, {arguments!r}, {body!r})"
        head = "\n" * before + f"{NAME}.around({name!r}, {arguments!r})\n"
        return _rewrite_lines(head + body)
    return _rewrite_lines(text)


def _rewrite_lines(text: str) -> str | None:
    lines = text.split("\n")
    for _ in range(REWRITES_CAP):
        try:
            # What the compiler warns of, it has warned of before.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile("\n".join(lines), "<snippet>", "exec", AWAIT | ast.PyCF_ONLY_AST, True)
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not 0 <= at < len(lines) or not _rewrite_line(lines, at):
                return None
        except (ValueError, MemoryError, RecursionError):
            return None
        else:
            return "\n".join(lines)
    return None


def _rewrite_line(lines: list[str], at: int) -> bool:
    """Rewrite the line `at`, and those that it goes on in; False if it is none of the forms."""
    end = at
    while lines[end].endswith("\\") and end + 1 < len(lines):
        end += 1
    whole = "".join(line.removesuffix("\\") for line in lines[at : end + 1])
    for form in FORMS:
        found = form(whole)
        if found is not None:
            lines[at : end + 1] = [found, *[""] * (end - at)]
            return True
    return False


def _magic(line: str) -> str | None:
    found = MAGIC.fullmatch(line)
    return found and f"{found[1]}{NAME}.line({found[2]!r}, {found[3].strip()!r})"


def _shell(line: str) -> str | None:
    found = SHELL.fullmatch(line)
    return found and f"{found[1]}{NAME}.shell({found[2].strip()!r})"


def _assigned(line: str) -> str | None:
    found = ASSIGNED.fullmatch(line)
    if found is None:
        return None
    target, kind, rest = found.groups()
    if kind == "!":
        return f"{target} = {NAME}.capture({rest.strip()!r})"
    magic = _magic("%" + rest)
    return magic and f"{target} = {magic.strip()}"


def _asked(line: str) -> str | None:
    found = ASKED_BEFORE.fullmatch(line)
    if found is not None:
        return f"{found[1]}{NAME}.explain({found[3]!r}, {found[2] == '??'})"
    found = ASKED_AFTER.fullmatch(line)
    return found and f"{found[1]}{NAME}.explain({found[2]!r}, {found[3] == '??'})"


FORMS: tuple[Callable[[str], str | None], ...] = (_asked, _magic, _shell, _assigned)
