"""What the source of a unittest module says of it, without running it."""

import ast
import importlib.util
import sys


def tests_in(source: str) -> dict[str, dict[str, bool]]:
    """Test classes, their test methods, and whether a method surely asserts a value."""
    found: dict[str, dict[str, bool]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        methods = {}
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name.startswith("test"):
                methods[part.name] = not part.decorator_list and any(
                    _is_value_assertion(line) for line in part.body
                )
        found[node.name] = methods
    return found


def require_imports(source: str) -> None:
    """Raise ModuleNotFoundError for a library that tests import on top and that is not here."""
    for node in ast.parse(source).body:
        found: list[str | None] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [node.module]
        for name in found:
            top = str(name).partition(".")[0]
            if top not in sys.modules and importlib.util.find_spec(top) is None:
                raise ModuleNotFoundError(f"No module named {top!r}")


def _is_value_assertion(line: ast.stmt) -> bool:
    call = line.value if isinstance(line, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "self"
        and call.func.attr in ("assertEqual", "assertTrue", "assertFalse", "assertAlmostEqual")
    )
