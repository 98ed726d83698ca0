"""Runs a source in this process, with the guards of the restricted level or without."""

import ast
import builtins
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from sandbox.guest.language import restricted
from sandbox.guest.language.restricted import CompiledSnippet, Refusal

Run = Callable[[str], Any]
FILE = "<snippet 1>"


def run_guarded(source: str) -> Any:
    """The value of the last expression of `source` at the restricted level."""
    module = ModuleType("__main__")
    module.__dict__.update(restricted.guards())
    return run_compiled(restricted.compile_module(source, FILE), module)


def run_full(source: str) -> Any:
    """The value of the last expression of `source`, without any guard."""
    tree = ast.parse(source)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    echo = compile(ast.Expression(last.value), FILE, "eval")
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    return run_compiled(CompiledSnippet(compile(tree, FILE, "exec"), echo), module)


def run_compiled(compiled: CompiledSnippet | Refusal, module: ModuleType) -> Any:
    """The value of the echo of `compiled`, run as `module`."""
    assert isinstance(compiled, CompiledSnippet), compiled
    main = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        if compiled.body:
            exec(compiled.body, module.__dict__)
        return eval(compiled.echo, module.__dict__) if compiled.echo else None
    finally:
        sys.modules["__main__"] = main


def refusal(source: str) -> Refusal:
    """What `source` is refused for; it must not compile."""
    compiled = restricted.compile_module(source, FILE)
    assert isinstance(compiled, Refusal), "it compiled"
    return compiled
