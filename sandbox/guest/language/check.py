"""What a snippet would need and what would be refused, found by reading it; nothing of it runs.

A name that is computed while the snippet runs cannot be read: such imports are judged then.
"""

import ast
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sandbox.guest.language.code_origin import Origins
from sandbox.guest.language.imports import ImportPolicy, Verdict, in_force
from sandbox.guest.language.review import review
from sandbox.guest.language.sources import without_first_indent
from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.messages import ROWS_CAP, TEXT_CAP
from sandbox.protocol.plan import ImportAction, ImportRule, Language

Rows = list[list[str | int]]
FILENAME = "<snippet>"
_IMPORTING_CALLS = frozenset({"__import__", "import_module"})


class Findings(NamedTuple):
    """Rows (module, line, action, rule), rows (line, construct, reason), text of a SyntaxError.

    `findings` are rows (line, kind, severity, what, reason); see `review`.
    """

    imports: Rows
    refusals: Rows
    syntax_error: str
    findings: Rows


class Request(NamedTuple):
    """One module that the source asks for; `names` are those taken from it."""

    line: int
    construct: str
    module: str
    names: tuple[str, ...]


def check(
    code: str,
    rules: Sequence[ImportRule],
    default: ImportAction,
    language: Language,
    *,
    origins: Origins | None = None,
) -> Findings:
    """Which modules `code` imports, and which of its constructs policy or level would refuse.

    `origins` tells modules that the guest wrote; without it, those of the policy in force do.
    """
    policies = [ImportPolicy(rules, default, origins=origins or in_force().policy.origins)]
    refusals: set[tuple[int, str, str]] = set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _parse(code)
            if language == "restricted":
                # Here because only sessions of this level are to load RestrictedPython.
                from sandbox.guest.language import guards, restricted

                policies.insert(0, guards.level_policy())
                refusals |= set(restricted.refusals(code, FILENAME))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Findings([], [], _syntax_error(error)[:TEXT_CAP], [])
    imports: set[tuple[int, str, str, str]] = set()
    for request in requests(tree):
        for module, verdict in _judge(request, policies).items():
            imports.add((request.line, module, verdict.action, verdict.rule))
            if verdict.is_refusal:
                refusals.add((request.line, request.construct, _reason(module, verdict)))
    return Findings(
        [
            [module[:NAME_CAP], line, action, rule[:NAME_CAP]]
            for line, module, action, rule in sorted(imports)[:ROWS_CAP]
        ],
        [
            [line, construct[:NAME_CAP], reason[:NAME_CAP]]
            for line, construct, reason in sorted(refusals)[:ROWS_CAP]
        ],
        "",
        review(tree),
    )


def requests(tree: ast.AST) -> Iterator[Request]:
    """Imports of `tree` at any depth: statements, and calls with the module's name spelt out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Request(node.lineno, f"import {alias.name}", alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = tuple(alias.name for alias in node.names)
            construct = f"from {module} import {', '.join(names)}"
            yield Request(node.lineno, construct, module, tuple(n for n in names if n != "*"))
        elif isinstance(node, ast.Call) and _called(node.func) in _IMPORTING_CALLS and node.args:
            module_node = node.args[0]
            if isinstance(module_node, ast.Constant) and isinstance(module_node.value, str):
                construct = f"{_called(node.func)}({module_node.value!r})"
                yield Request(node.lineno, construct, module_node.value, ())


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _judge(request: Request, policies: Sequence[ImportPolicy]) -> dict[str, Verdict]:
    """Each module of `request` with its verdict; a refusal by an earlier policy stands."""
    if request.module.startswith("."):
        verdict = Verdict("allow", "relative", "part of the package that imports it", "")
        return {request.module: verdict}
    found: dict[str, Verdict] = {}
    for policy in policies:
        for module, verdict in policy.requests(request.module, request.names):
            if module not in found or not found[module].is_refusal:
                found[module] = verdict
    return found


def _reason(module: str, verdict: Verdict) -> str:
    return f"import of {module!r}: {verdict.rule} -> {verdict.action}: {verdict.hint}"


def _parse(code: str) -> ast.Module:
    """The tree of `code`, once it is known to compile whole: some errors show no earlier."""
    code = without_first_indent(code)
    compile(code, FILENAME, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(code, FILENAME, "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _syntax_error(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    return f"{type(error).__name__}: {error}".removesuffix(": ")
