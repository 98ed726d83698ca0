"""The restricted language level: what compiles, and to which guarded form.

RestrictedPython rewrites attribute and item access, iteration, unpacking, in-place operators and
calls with stars into calls of guards (`guards.py`), and refuses every syntax it does not know.
This module widens it where benign code would fail and each part still goes through a guard:

* `a[i] += x` and `a.b += x` read and write through the guards, evaluated once and in order;
* annotated assignment and `nonlocal`, with the names checked as everywhere;
* methods of the data model that neither intercept attributes nor make objects (`DEFINABLE`);
* reading `__name__` and the few other names in `READABLE`;
* `print` is the function itself: it writes to `sys.stdout` and can be passed on.

It narrows what is tried and gives early, clear errors. It is no wall.
"""

import ast
import re
from types import CodeType
from typing import NamedTuple, TypeVar

from RestrictedPython.Guards import (
    guarded_iter_unpack_sequence,
    guarded_unpack_sequence,
    safe_builtins,
)
from RestrictedPython.transformer import (
    INSPECT_ATTRIBUTES,
    IOPERATOR_TO_STR,
    RestrictingNodeTransformer,
    copy_locations,
)

from sandbox.guest.language import rewrites
from sandbox.guest.language.guards import DEFINABLE, READABLE, Guards

_Tree = TypeVar("_Tree", bound=ast.AST)
_Placed = TypeVar("_Placed", bound=ast.stmt | ast.expr)
_Visited = ast.AST | list[ast.stmt] | None
_NAMED = re.compile(r'"(\w+)" is ')
"""How a reason begins that is about a name."""
_HasName = ast.stmt | ast.expr | ast.excepthandler | ast.arg | ast.keyword | ast.alias | ast.pattern


class Refusal(NamedTuple):
    """A construct that the level does not allow."""

    line: int
    construct: str
    reason: str


class CompiledSnippet(NamedTuple):
    """Statements to execute, then an expression whose value is shown; either may be missing."""

    body: CodeType | None
    echo: CodeType | None


def compile_module(source: str, filename: str) -> CompiledSnippet | Refusal:
    """`source` in guarded form, ready to run in a namespace that `guards` filled.

    Returns the first construct that is refused. Raises SyntaxError as `compile` does.
    """
    tree = parse(source, filename)
    echo: ast.Expression | None = None
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
        echo = ast.Expression(last.value)
    transformer = _Transformer()
    body = transformer.guarded(tree) if tree.body else None
    echo = transformer.guarded(echo) if echo else None
    if transformer.refusals:
        return min(transformer.refusals)
    return CompiledSnippet(
        compile(body, filename, "exec", dont_inherit=True) if body else None,
        compile(echo, filename, "eval", dont_inherit=True) if echo else None,
    )


def refusals(source: str, filename: str) -> list[Refusal]:
    """Every construct of `source` that the level refuses, by line. Raises SyntaxError."""
    transformer = _Transformer()
    transformer.guarded(parse(source, filename))
    return sorted(set(transformer.refusals))


def parse(source: str, filename: str) -> ast.Module:
    """The tree of `source`. `await` outside of a function parses, to be refused by name."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(source, filename, "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def guards() -> dict[str, object]:
    """The names that guarded code needs in its namespace, `__builtins__` among them."""
    return {
        **Guards(INSPECT_ATTRIBUTES, safe_builtins).namespace(),
        "_iter_unpack_sequence_": guarded_iter_unpack_sequence,
        "_unpack_sequence_": guarded_unpack_sequence,
    }


class _Transformer(RestrictingNodeTransformer):
    """RestrictedPython's rewriting with the widenings that the module names."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[Refusal] = []

    def guarded(self, tree: _Tree) -> _Tree:
        """`tree`, rewritten in place. What is refused is in `refusals`."""
        return ast.fix_missing_locations(self.visit(tree))  # type: ignore[no-any-return]

    def error(self, node: ast.AST, info: str) -> None:
        super().error(node, info)
        reason = rewrites.with_remedy(info, _instead(node, info))
        self.refusals.append(Refusal(getattr(node, "lineno", 0), type(node).__name__, reason))

    def check_name(
        self, node: _HasName, name: str | None, allow_magic_methods: bool = False
    ) -> None:
        # A method is never at the left edge; a function there would be a global of that name.
        if allow_magic_methods and name in DEFINABLE and node.col_offset != 0:
            return
        if name == "printed":
            return  # Reserved by RestrictedPython for a print that collects.
        super().check_name(node, name, allow_magic_methods)

    def visit_Name(self, node: ast.Name) -> _Visited:
        if isinstance(node.ctx, ast.Load):
            if node.id == "print":
                return _at(ast.Name("_print_", ast.Load()), node)
            if node.id in ("__name__", "printed"):
                return node
        return super().visit_Name(node)  # type: ignore[return-value]

    def visit_Attribute(self, node: ast.Attribute) -> _Visited:
        is_readable = node.attr in READABLE or (node.attr in DEFINABLE and _is_super(node.value))
        if is_readable and isinstance(node.ctx, ast.Load):
            node = self.node_contents_visit(node)
            arguments: list[ast.expr] = [node.value, ast.Constant(node.attr)]
            return _at(ast.Call(ast.Name("_getattr_", ast.Load()), arguments, []), node)
        return super().visit_Attribute(node)  # type: ignore[return-value]

    def visit_AugAssign(self, node: ast.AugAssign) -> _Visited:
        """`a[i] += x` becomes, with `a` and `i` held in temporary names:

        `_write_(a)[i] = _inplacevar_("+=", _getitem_(a, i), x)`; likewise for `a.b += x`.
        """
        if isinstance(node.target, ast.Name):
            return super().visit_AugAssign(node)  # type: ignore[return-value]
        target = self.visit(node.target)
        value = self.visit(node.value)
        operator = ast.Constant(IOPERATOR_TO_STR[type(node.op)])
        holders = [self.gen_tmp_name()]
        written = target.value  # The call of `_write_` that the visit put around the object.
        held: list[ast.expr] = [written.args[0]]
        written.args[0] = _load(holders[0])
        if isinstance(target, ast.Attribute):
            getter, key = "_getattr_", _constant(target.attr)
        else:
            holders.append(self.gen_tmp_name())
            held.append(target.slice)
            target.slice = _load(holders[1])
            getter, key = "_getitem_", _load(holders[1])
        current = ast.Call(_load(getter), [_load(holders[0]), key], [])
        result = ast.Call(_load("_inplacevar_"), [operator, current, value], [])
        hold = ast.Assign(
            [ast.Tuple([ast.Name(name, ast.Store()) for name in holders], ast.Store())],
            ast.Tuple(held, ast.Load()),
        )
        forget = ast.Delete([ast.Name(name, ast.Del()) for name in holders])
        assign = ast.Try([ast.Assign([target], result)], [], [], [forget])
        return [_at(hold, node), _at(assign, node)]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> _Visited:
        return self.node_contents_visit(node)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> _Visited:
        for name in node.names:
            self.check_name(node, name)
        return node

    def visit_Global(self, node: ast.Global) -> _Visited:
        for name in node.names:
            self.check_name(node, name)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> _Visited:
        visited = super().visit_ClassDef(node)
        assert isinstance(visited, ast.ClassDef)
        # RestrictedPython keeps no keyword but its own, and loses the place.
        visited.keywords += [item for item in node.keywords if item.arg != "metaclass"]
        return _at(visited, node)


def _instead(node: ast.AST, info: str) -> str:
    """What to write in place of `node`, which is refused with the words `info`."""
    named = _NAMED.match(info)
    if isinstance(node, ast.Attribute):
        return rewrites.for_attribute(node.attr)
    if named is not None:
        return rewrites.for_name(named[1])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return rewrites.CALLS.get(node.func.id, rewrites.OLDER_SYNTAX)
    return rewrites.for_construct(type(node).__name__)


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _constant(value: str) -> ast.expr:
    return ast.Constant(value)


def _at(node: _Placed, place: ast.stmt | ast.expr) -> _Placed:
    """`node` with the location of `place`, and all below it that has none yet."""
    copy_locations(node, place)
    return node
