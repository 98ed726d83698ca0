"""Tests as code objects: compiled once for many candidates, messages made only when needed."""

import ast
from functools import lru_cache
from types import CodeType

COMPILED_KEPT = 512
EXPLAIN = "__explain__"
BOUND_NODES = (ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Await)
BOUND_NAMES = frozenset(("locals", "vars", "dir", "eval", "exec", "super"))
"""What means something else in another function."""


@lru_cache(maxsize=COMPILED_KEPT)
def compiled(source: str, file: str) -> CodeType:
    """The trusted `source`, compiled; many candidates are judged by one test.

    What an assertion says when it fails is made by `EXPLAIN`, a name of the test.
    """
    tree = ast.parse(source, file)
    nodes = list(ast.walk(tree))
    # A function in a class does not see the names of the class.
    if not any(isinstance(node, ast.ClassDef) for node in nodes):
        for node in nodes:
            if isinstance(node, ast.Assert) and node.msg is not None and _asks(node.msg):
                node.msg = _deferred(node.msg)
    return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)


def _asks(message: ast.expr) -> bool:
    """Whether `message` calls something, and means the same in a function of its own."""
    nodes = list(ast.walk(message))
    return (
        any(isinstance(node, ast.Call) for node in nodes)
        and not any(isinstance(node, BOUND_NODES) for node in nodes)
        and not any(isinstance(node, ast.Name) and node.id in BOUND_NAMES for node in nodes)
    )


def _deferred(message: ast.expr) -> ast.Call:
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Call(ast.Name(EXPLAIN, ast.Load()), [ast.Lambda(nothing, message)], [])


def names_of(code: CodeType) -> set[str]:
    """Every global name that `code` may read, functions in it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_of(constant)
    return found
