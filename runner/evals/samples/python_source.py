"""What a source says of itself by its grammar: names that it defines, calls, and lacks.

Pure, and never runs anything: sources are models' and tasks' own.
"""

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

PARSED_CAP = 50_000
"""Characters of a source beyond which nothing is parsed; the words of it decide then."""


def names_called(source: str) -> set[str]:
    """Names that a test calls and neither sets nor imports itself, built-in ones aside."""
    tree = parsed(source)
    if tree is None:
        return set()
    called: set[str] = set()
    own: set[str] = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
    return called - own


def defined_by(code: str) -> set[str]:
    """Names that `code` defines on top; by its words where it is no Python of this version."""
    tree = parsed(code)
    if tree is None:
        return set(
            re.findall(r"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", code, re.MULTILINE)
        )
    found: set[str] = set()
    for node in top_statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.add(node.target.id)
    return found


@lru_cache(maxsize=2048)
def built_in_names(solution: str, test: str) -> tuple[str, ...]:
    """Names of built-in functions that a task asks for: its own solution defines them."""
    tree = parsed(test)
    if not solution or tree is None:
        return ()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return tuple(sorted(defined_by(solution) & used & set(dir(builtins))))


def missing_from(code: str) -> set[str]:
    """Names that `code` uses and sets nowhere, built-in ones aside; none if it does not parse."""
    tree = parsed(code)
    if tree is None:
        return set()
    used: set[str] = set()
    own: set[str] = set(dir(builtins)) | {"__name__", "__file__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            own.add(node.name)
    return used - own


def statements_for(code: str, names: set[str]) -> str:
    """The statements on top of `code` that define or import one of `names`, in order."""
    tree = parsed(code)
    if tree is None:
        return ""
    lines = code.splitlines()
    found = []
    for node in tree.body:
        if names & _bound_by(node):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(one.lineno for one in decorators)])
            found += [*lines[first - 1 : node.end_lineno], ""]
    return "\n".join(found)


def _bound_by(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(one.asname or one.name).partition(".")[0] for one in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


def returns(code: str) -> bool:
    """Whether the last statement of `code` is a function that returns or yields something."""
    tree = parsed(code)
    last = tree.body[-1] if tree is not None and tree.body else None
    if not isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    kinds = (ast.Return, ast.Yield, ast.YieldFrom, ast.Raise)
    return any(isinstance(node, kinds) for node in ast.walk(last))


def is_sketch(code: str) -> bool:
    """Whether all functions on top of `code` are empty, and there are some."""
    tree = parsed(code)
    if tree is None:
        return False
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [node for node in tree.body if isinstance(node, kinds)]
    lines = [line for node in functions for line in node.body]
    return bool(lines) and all(
        isinstance(line, ast.Pass)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in lines
    )


def defines_any(code: str) -> bool:
    """Whether `code` defines a function or a class on top."""
    tree = parsed(code)
    if tree is None:
        return bool(defined_by(code))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(node, kinds) for node in top_statements(tree))


def top_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of a module, those below an `if` or a `try` included."""
    waiting: list[ast.stmt] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            waiting.extend(reversed(node.body))
            if not isinstance(node, ast.With):
                waiting.extend(node.orelse)
            for handler in node.handlers if isinstance(node, ast.Try) else ():
                waiting.extend(handler.body)


def is_python(code: str) -> bool:
    """Whether `code` is a program of this Python."""
    return parsed(code) is not None


@lru_cache(maxsize=64)
def parsed(code: str) -> ast.Module | None:
    """The tree of `code`; None where it is too long or no Python of this version."""
    if len(code) > PARSED_CAP:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd escapes are the model's own affair.
            return ast.parse(code)
    # The text is the model's: too deep or too odd for the parser is as good as wrong.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_expression(code: str) -> bool:
    """Whether `code` is one expression and nothing else."""
    tree = parsed(code.strip())
    return tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)


def is_code(code: str) -> bool:
    """Whether `code` is a program, or the inside of a function."""
    if len(code) > PARSED_CAP:
        return False
    body = textwrap.indent(textwrap.dedent(code), "    ")
    return is_python(code) or is_python(f"def f():\n{body}")
