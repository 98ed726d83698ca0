"""Run-time guards of the restricted level: what its rewritten code calls.

A guard lets ordinary objects through and refuses the ways by which a snippet would leave the
language: names that begin with an underscore, frames and code, format fields that walk
attributes, modules that the policy refuses reached as attributes of others, and the functions
in `REFUSED`. What is refused at run time is an AttributeError, TypeError or ImportError.
"""

import builtins
import dataclasses
import functools
import operator
import string
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple, NoReturn

from sandbox.guest.language import imports
from sandbox.guest.language.imports import ImportHook, ImportPolicy, Verdict
from sandbox.guest.language.rewrites import CALLS, for_attribute, with_remedy
from sandbox.guest.language.safe_builtins import (
    format_text,
    format_text_map,
    guarded_type,
    public_names,
    update_wrapper,
    wraps,
    written,
)
from sandbox.protocol.plan import ImportRule

READABLE = frozenset(
    {"__class__", "__doc__", "__init__", "__module__", "__name__", "__qualname__", "__version__"}
)
"""Names with underscores that may be read. `__init__` is read of classes and `super()` only."""

_METHODS = (
    "init post_init repr str bytes format hash bool eq ne lt le gt ge "
    "len length_hint iter next reversed contains getitem setitem delitem missing "
    "call enter exit int float complex index round trunc floor ceil neg pos abs invert "
    "add sub mul truediv floordiv mod divmod pow matmul lshift rshift and or xor "
    "radd rsub rmul rtruediv rfloordiv rmod rdivmod rpow rmatmul rlshift rrshift rand ror rxor "
    "iadd isub imul itruediv ifloordiv imod ipow imatmul ilshift irshift iand ior ixor"
)
DEFINABLE = frozenset(f"__{name}__" for name in _METHODS.split())
"""Methods that a class may define: none of them intercepts attributes or makes objects."""

_PLAIN_BUILTINS = (
    "all any ascii bin bytearray bytes classmethod dict enumerate exit filter format frozenset "
    "input iter list map max memoryview min next NotImplemented object open property quit "
    "reversed set sorted staticmethod sum super tuple zip"
)
"""Functions that RestrictedPython leaves out and that reach nothing but their arguments."""

LEVEL_RULES = tuple(
    ImportRule(pattern, "refuse", reason, alternative)
    for names, reason, alternative in (
        (
            "builtins importlib imp runpy pkgutil zipimport",
            "it loads or hands out what the restricted level guards",
            "import statements",
        ),
        (
            "inspect gc dis bdb pdb trace cProfile profile tracemalloc faulthandler",
            "it looks at frames and objects past the guards",
            "traceback, for the text of an error",
        ),
        (
            "code codeop timeit doctest",
            "it runs source text past the guards",
            "time.perf_counter, for times; assert, for tests",
        ),
        (
            "pickle _pickle cPickle dill cloudpickle marshal shelve copyreg logging.config",
            "it calls functions that the data names",
            "json",
        ),
        ("ctypes _ctypes cffi", "it reads and writes memory", "struct and array"),
    )
    for name in names.split()
    for pattern in (name, f"{name}.*")
)
"""Modules with which the level would mean nothing, whatever the import policy says."""

LABEL = "restricted level: "
WORKSPACE_VERDICT = Verdict(
    "refuse",
    LABEL + "workspace",
    "modules of the workspace are not compiled at this level",
    "the same code in the snippet",
)


def level_policy() -> ImportPolicy:
    """What the level says about modules, whatever the import policy allows."""
    origins = imports.in_force().policy.origins
    return ImportPolicy(LEVEL_RULES, "allow", origins=origins, label=LABEL)


class Gadget(NamedTuple):
    """An object that hands out what the guards hold back, and why it is refused."""

    value: object
    reason: str
    instead: str


_MAKES_CLASSES = "makes classes with methods of any name"
REFUSED = (
    Gadget(eval, "runs source text past the guards", CALLS["eval"]),
    Gadget(exec, "runs source text past the guards", CALLS["exec"]),
    Gadget(compile, "makes code past the guards", CALLS["compile"]),
    Gadget(globals, "hands out the guards themselves", CALLS["globals"]),
    Gadget(locals, "hands out the guards themselves", CALLS["locals"]),
    Gadget(vars, "hands out attributes past the guards", CALLS["vars"]),
    Gadget(sys.modules, "hands out modules past the import policy", "import statements"),
    Gadget(string.Formatter, "walks attributes named in format fields", "f-strings, str.format"),
    Gadget(typing.get_type_hints, "evaluates annotations that are text", "dataclasses.fields"),
    Gadget(dataclasses.make_dataclass, _MAKES_CLASSES, "a class with @dataclass"),
    Gadget(types.new_class, _MAKES_CLASSES, "a class statement"),
    Gadget(types.CodeType, "makes code past the guards", "a function"),
)

IN_PLACE: dict[str, Callable[[object, object], object]] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "%=": operator.imod,
    "**=": operator.ipow,
    "<<=": operator.ilshift,
    ">>=": operator.irshift,
    "|=": operator.ior,
    "^=": operator.ixor,
    "&=": operator.iand,
    "//=": operator.ifloordiv,
    "@=": operator.imatmul,
}

_FORMATTING = frozenset({"format", "format_map"})
_EXCEPTIONS = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and issubclass(value, BaseException)
    and not name.endswith("ExceptionGroup")
}


class Guards:
    """The guards of one namespace.

    `hidden` are the attributes that lead to frames and code; `safe` the builtins to start from.
    """

    def __init__(self, hidden: frozenset[str], safe: Mapping[str, object]) -> None:
        self._hidden = hidden
        self._safe = safe
        self._level = ImportHook(level_policy(), _report)
        self._refused = {id(gadget.value): gadget for gadget in REFUSED}
        self._replaced: dict[int, object] = {
            id(value): replacement
            for value, replacement in (
                (getattr, self.getattr),
                (hasattr, self.hasattr),
                (setattr, self.setattr),
                (delattr, self.delattr),
                (dir, public_names),
                (type, guarded_type),
                (str.format, format_text),
                (str.format_map, format_text_map),
                (operator.attrgetter, self.attrgetter),
                (operator.methodcaller, self.methodcaller),
                (functools.wraps, wraps),
                (functools.update_wrapper, update_wrapper),
            )
        }

    def namespace(self) -> dict[str, object]:
        """The guards under the names by which rewritten code calls them."""
        return {
            "__builtins__": self._builtins(),
            "__metaclass__": type,
            "__name__": "__main__",
            "_apply_": apply,
            "_getattr_": self.read,
            "_getitem_": operator.getitem,
            "_getiter_": same,
            "_inplacevar_": in_place,
            "_print_": print,
            "_write_": written,
        }

    def _builtins(self) -> dict[str, object]:
        plain = {
            name: getattr(builtins, name)
            for name in _PLAIN_BUILTINS.split()
            if hasattr(builtins, name)  # `exit` and `quit` come from site.
        }
        return {
            **{name: value for name, value in self._safe.items() if name != "_getattr_"},
            **_EXCEPTIONS,
            **plain,
            "__import__": self.import_,
            "getattr": self.getattr,
            "hasattr": self.hasattr,
            "setattr": self.setattr,
            "delattr": self.delattr,
            "dir": public_names,
            "type": guarded_type,
            **{name: _absent(name, gadget) for name, gadget in _refused_builtins()},
        }

    # ---- attributes ------------------------------------------------------------------------------

    def read(self, item: object, name: str) -> object:
        """`item.name`, unless the name or the value is held back."""
        self._check_name(item, name)
        return self._checked(item, name, getattr(item, name))

    def getattr(self, item: object, name: str, *default: object) -> object:
        """The builtin of that name, guarded."""
        try:
            return self.read(item, name)
        except AttributeError:
            if len(default) != 1:
                raise
            return default[0]

    def hasattr(self, item: object, name: str) -> bool:
        """The builtin of that name, guarded: what may not be read is not there."""
        try:
            self.read(item, name)
        except AttributeError:
            return False
        return True

    def setattr(self, item: object, name: str, value: object) -> None:
        """Set an attribute as the builtin does, guarded."""
        self._check_written_name(name)
        setattr(written(item), name, value)

    def delattr(self, item: object, name: str) -> None:
        """Delete an attribute as the builtin does, guarded."""
        self._check_written_name(name)
        delattr(written(item), name)

    def attrgetter(self, *paths: str) -> Callable[[object], object]:
        """`operator.attrgetter` that reads through the guard."""

        def get(item: object) -> object:
            found = [functools.reduce(self.read, path.split("."), item) for path in paths]
            return found[0] if len(found) == 1 else tuple(found)

        return get

    def methodcaller(
        self, name: str, /, *args: object, **kwargs: object
    ) -> Callable[[object], object]:
        """`operator.methodcaller` that reads the method through the guard."""

        def call(item: object) -> object:
            return typing.cast(Callable[..., object], self.read(item, name))(*args, **kwargs)

        return call

    def _check_name(self, item: object, name: str) -> None:
        if type(name) is not str:
            raise TypeError(f"attribute name must be string, not {type(name).__name__!r}")
        if name.startswith("_"):
            if name == "__init__" and isinstance(item, type):
                return
            if name in READABLE and name != "__init__":
                return
            if type(item) is super and name in DEFINABLE:
                return
            raise _hidden(name, "read at the restricted level: it starts with '_'")
        if name in self._hidden or (name == "obj" and isinstance(item, AttributeError)):
            raise _hidden(name, "read at the restricted level: it leads past the guards")

    def _check_written_name(self, name: str) -> None:
        if type(name) is not str:
            raise TypeError(f"attribute name must be string, not {type(name).__name__!r}")
        if name.startswith("_") or name in self._hidden:
            raise _hidden(name, "changed at the restricted level")

    def _checked(self, item: object, name: str, value: object) -> object:
        """`value`, which was read as `item.name`, or what stands for it."""
        replacement = self._replaced.get(id(value))
        if replacement is not None:
            return replacement
        kind = type(value)
        gadget = self._refused.get(id(value))
        if gadget is None and issubclass(kind, type) and issubclass(typing.cast(type, value), type):
            gadget = Gadget(value, _MAKES_CLASSES, "a class statement")
        if gadget is not None:
            raise AttributeError(_refusal(name, gadget))
        if issubclass(kind, ModuleType):
            self._admit_module(item, name, typing.cast(ModuleType, value))
        elif name in _FORMATTING and kind is types.BuiltinMethodType:
            owner = getattr(value, "__self__", None)
            if isinstance(owner, str):
                return functools.partial(
                    format_text if name == "format" else format_text_map, owner
                )
        return value

    # ---- imports ---------------------------------------------------------------------------------

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> object:
        """`__import__` of guarded code: the level's rules, then the policy's.

        For `from m import a` the answer holds just the names asked for, each read by the guard.
        """
        if imports.is_native_request(sys._getframe(1), globals, locals, fromlist):
            return builtins.__import__(name, globals, locals, fromlist, level)
        self._level.admit(name, fromlist or ())
        package = name.partition(".")[0]
        if imports.in_force().policy.origins.is_guest_module(package):
            _report("refuse", package, WORKSPACE_VERDICT.rule, WORKSPACE_VERDICT.hint)
            raise imports.refusal(package, WORKSPACE_VERDICT)
        module = builtins.__import__(name, globals, locals, fromlist, level)
        if not fromlist:
            return module
        try:
            return types.SimpleNamespace(**{item: self.read(module, item) for item in fromlist})
        except AttributeError as error:
            raise ImportError(f"cannot import from {name!r}: {error}", name=name) from None

    def _admit_module(self, item: object, name: str, module: ModuleType) -> None:
        """Raises AttributeError if `module`, found as `item.name`, could not be imported."""
        gate = imports.in_force()
        asked = module.__name__
        if isinstance(item, ModuleType) and sys.modules.get(f"{item.__name__}.{name}") is module:
            asked = f"{item.__name__}.{name}"
            # It came with its package; only a rule of its own holds it back.
            if gate.policy.judge(asked).rule == "default":
                gate = self._level
        try:
            self._level.admit(asked)
            gate.admit(asked)
        except ImportError as error:
            raise AttributeError(str(error)) from None


def _refused_builtins() -> Iterator[tuple[str, Gadget]]:
    for gadget in REFUSED:
        if isinstance(gadget.value, types.BuiltinFunctionType):
            yield gadget.value.__name__, gadget


def _absent(name: str, gadget: Gadget) -> Callable[..., NoReturn]:
    """A builtin that says why it is not there."""

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise NameError(_refusal(name, gadget))

    return refuse


def _refusal(name: str, gadget: Gadget) -> str:
    why = f"{name!r} is refused at the restricted level: it {gadget.reason}"
    return with_remedy(why, gadget.instead)


def _hidden(name: str, done: str) -> AttributeError:
    return AttributeError(with_remedy(f"{name!r} is not to be {done}", for_attribute(name)))


def _report(action: str, tried: str, rule: str, hint: str) -> None:
    imports.in_force().report(action, tried, rule, hint)


# ---- guards without state -----------------------------------------------------------------------


def same(item: object) -> object:
    """`_getiter_`: iteration is not restricted."""
    return item


def apply(function: Callable[..., object], *args: object, **kwargs: object) -> object:
    """`_apply_`: a call with stars."""
    return function(*args, **kwargs)


def in_place(sign: str, left: object, right: object) -> object:
    """`_inplacevar_`: the value of `left` after `left sign right`."""
    return IN_PLACE[sign](left, right)
