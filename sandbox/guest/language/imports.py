"""Import policy: judges what guest code imports, and names the allowed alternative.

Only an import that guest code asks for is judged: code of a snippet, or of a file that lies
where the guest can write. What an installed module imports on its own behalf runs unjudged, so
pandas gets its `ctypes` while a snippet does not. Three places see the requests: `__import__`
(every import statement), `importlib.import_module`, and a meta path finder for the ways through
importlib that avoid both. The first two judge before `sys.modules` is looked at.

None of this is a wall. Guest code can take it apart; the jail holds without it.
"""

import builtins
import fnmatch
import functools
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from types import FrameType, ModuleType
from typing import NamedTuple, NoReturn, Protocol

from sandbox.guest.language import audit
from sandbox.guest.language.code_origin import GUEST_ROOTS, Origins
from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.plan import ImportAction, ImportRule

Report = Callable[[str, str, str, str], None]
"""Receives action, what was tried, the rule's name, a hint; returns once it is delivered."""


class Observe(Protocol):
    """Is told of each module that guest code asks for, and what the policy says to it."""

    def __call__(self, module: str, /, *, is_allowed: bool, rule: str) -> None: ...


BOUND_BY = {"os.path": "os"}
"""`import os.path` binds `os`, which is no package: the rule for `os` has to allow it too."""
NAMED_MODULES = 20
"""How many allowed modules a refusal names."""
VERDICTS_KEPT = 4096

# Captured before guest code can replace them.
_import = builtins.__import__
_import_module = importlib.import_module
_kill, _getpid, _exit = os.kill, os.getpid, os._exit

_HERE = os.path.dirname(__file__)
_TRANSPARENT = frozenset({__file__, os.path.join(_HERE, "guards.py")})
"""Files whose functions import on behalf of their caller."""
_MACHINERY = frozenset(
    {
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
        importlib.util.find_spec.__code__.co_filename,
        _import_module.__code__.co_filename,
    }
)
_ENTRIES_FROM_C = frozenset({"_find_and_load", "_handle_fromlist"})
"""Where the interpreter and native modules enter importlib; Python code enters elsewhere."""


class Verdict(NamedTuple):
    """What the policy says about one module. `rule` is the rule's pattern, or `default`."""

    action: ImportAction
    rule: str
    reason: str
    alternative: str

    @property
    def is_refusal(self) -> bool:
        return self.action in ("refuse", "kill")

    @property
    def hint(self) -> str:
        """The reason, and for a refusal what to use instead, as one text."""
        if not self.is_refusal:
            return self.reason
        reason, alternative = self.reason.removesuffix("."), self.alternative.removesuffix(".")
        return f"{reason}. Allowed instead: {alternative}."


def refusal(module: str, verdict: Verdict) -> ImportError:
    """The error that guest code gets for `module`."""
    rule = f"{verdict.rule} -> {verdict.action}"
    return ImportError(
        f"import of {module!r} is refused by rule {rule!r}: {verdict.hint}", name=module
    )


# ---- rules --------------------------------------------------------------------------------------


class ImportPolicy:
    """Ordered rules and a default, answering for module names; `label` precedes a rule's name."""

    def __init__(
        self,
        rules: Sequence[ImportRule],
        default: ImportAction,
        *,
        origins: Origins,
        label: str = "",
    ) -> None:
        self.origins = origins
        self._rules = tuple(rules)
        self._default = default
        self._label = label
        # Presets have hundreds of rules, most of them a name or a name and all below it. Two
        # tables spare each session the compiling of as many expressions.
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._globs: list[int] = []
        for index, rule in enumerate(self._rules):
            stem = rule.pattern.removesuffix(".*")
            if any(sign in stem for sign in "*?["):
                self._globs.append(index)
            elif stem == rule.pattern:
                self._exact.setdefault(stem, index)
            else:
                self._below.setdefault(stem, index)
        self._by_rules = functools.lru_cache(maxsize=VERDICTS_KEPT)(self._judge_by_rules)

    @property
    def is_open(self) -> bool:
        """Whether nothing can be refused or reported."""
        return self._default == "allow" and all(rule.action == "allow" for rule in self._rules)

    def judge(self, module: str) -> Verdict:
        """The verdict on `module`, asked for by guest code.

        A module that no rule allows is refused as part of a package that a rule refuses. One
        that only the default refuses is allowed if the guest wrote it: its code is judged too.
        """
        verdict = self._by_rules(module)
        if verdict.rule == "default" and verdict.is_refusal:
            package = module.partition(".")[0]
            if self.origins.is_guest_module(package):
                return Verdict("allow", "default", "the snippet's own module", "")
        return verdict

    def may_refuse(self, module: str) -> bool:
        """Whether `module` is not plainly allowed by rule, whatever code asks for it."""
        return self._by_rules(module).action != "allow"

    def requests(self, module: str, fromlist: Sequence[str] = ()) -> Iterator[tuple[str, Verdict]]:
        """The modules that one import statement asks for, and the verdict on each.

        Imports and runs nothing: a name in `fromlist` counts if it can be found as a module.
        A package of which only modules are taken is not itself asked for.
        """
        verdict = self.judge(module)
        taken = [name for name in (f"{module}.{item}" for item in fromlist) if is_module(name)]
        if verdict.action == "allow" or not taken or len(taken) < len(fromlist):
            yield module, verdict
        if not fromlist and module in BOUND_BY:
            yield BOUND_BY[module], self.judge(BOUND_BY[module])
        for name in taken:
            yield name, self.judge(name)

    def _judge_by_rules(self, module: str) -> Verdict:
        index = self._first_match(module)
        if index is not None:
            return self._verdict(self._rules[index])
        for package in _packages_of(module):
            index = self._first_match(package)
            if index is not None and self._rules[index].action in ("refuse", "kill"):
                return self._verdict(self._rules[index])
        return Verdict(self._default, "default", "no rule allows it", self._allowed())

    def _first_match(self, module: str) -> int | None:
        found = [self._below[name] for name in _packages_of(module) if name in self._below]
        if module in self._exact:
            found.append(self._exact[module])
        best = min(found, default=len(self._rules))
        for index in self._globs:
            if index > best:
                break
            if fnmatch.fnmatchcase(module, self._rules[index].pattern):
                return index
        return best if found else None

    def _verdict(self, rule: ImportRule) -> Verdict:
        alternative = rule.alternative or self._allowed()
        return Verdict(rule.action, self._label + rule.pattern, rule.reason, alternative)

    def _allowed(self) -> str:
        if self._default in ("allow", "log"):
            return "any module that no rule refuses"
        names = [
            rule.pattern
            for rule in self._rules
            if rule.action in ("allow", "log") and not rule.pattern.endswith(".*")
        ]
        if not names:
            return "no module; the builtins are there"
        more = len(names) - NAMED_MODULES
        return ", ".join(names[:NAMED_MODULES]) + (f" and {more} more" if more > 0 else "")


def is_module(name: str) -> bool:
    """Whether `name` is loaded or can be found as a module. Imports nothing."""
    if name in sys.modules:
        return True
    path: Sequence[str] | None = None
    for package in _packages_of(name):
        loaded = sys.modules.get(package)
        if loaded is not None:
            path = getattr(loaded, "__path__", None)
        else:
            spec = PathFinder.find_spec(package, path)
            path = spec.submodule_search_locations if spec else None
        if path is None:
            return False
    return PathFinder.find_spec(name, path) is not None


def _packages_of(module: str) -> list[str]:
    """The packages that enclose `module`, outermost first: `a`, `a.b` for `a.b.c`."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


# ---- enforcement --------------------------------------------------------------------------------


class ImportHook:
    """Judges each request of guest code: passes it, reports it, refuses it, or ends the process."""

    def __init__(
        self, policy: ImportPolicy, report: Report, observe: Observe | None = None
    ) -> None:
        self.policy = policy
        self._report = report
        self._observe = observe

    def admit(self, module: str, fromlist: Sequence[str] = ()) -> None:
        """Raises ImportError if guest code may not have `module`, or `fromlist` names of it."""
        for name, verdict in self.policy.requests(module, fromlist):
            if self._observe is not None:
                rule = f"{verdict.rule} -> {verdict.action}"
                if verdict.action != "allow":
                    rule += f": {verdict.reason}"
                self._observe(name, is_allowed=not verdict.is_refusal, rule=rule)
            if verdict.action == "allow":
                continue
            self.report(verdict.action, name, verdict.rule, verdict.hint)
            if verdict.action == "kill":
                _end_process()
            if verdict.action == "refuse":
                raise refusal(name, verdict)

    def report(self, action: str, tried: str, rule: str, hint: str) -> None:
        self._report(action, tried[:NAME_CAP], rule[: NAME_CAP // 2], hint[:NAME_CAP])

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What an import statement calls."""
        frame = _asker(sys._getframe(1))
        if (
            isinstance(name, str)
            and self.policy.origins.is_guest_frame(frame)
            and not is_native_request(frame, globals, locals, fromlist)
        ):
            names = [item for item in fromlist or () if item != "*"]
            self.admit(_absolute(name, globals or {}, level), names)
        return _import(name, globals, locals, fromlist or (), level)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """What `importlib.import_module` is while the policy holds."""
        if isinstance(name, str) and self.policy.origins.is_guest_frame(_asker(sys._getframe(1))):
            self.admit(_absolute(name.lstrip("."), {"__package__": package}, _dots(name)))
        return _import_module(name, package)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """Find nothing, as a meta path finder may: the last look at what is to be loaded."""
        if not self.policy.may_refuse(name):
            return
        frame: FrameType | None = sys._getframe(1)
        entry = ""
        while frame is not None and frame.f_code.co_filename in _MACHINERY:
            entry = frame.f_code.co_name
            frame = frame.f_back
        # A native module that loads another does so directly below whatever called it.
        if frame is None or entry in _ENTRIES_FROM_C:
            return
        if frame.f_code.co_filename in _TRANSPARENT:
            return  # Judged already.
        if self.policy.origins.is_guest_frame(frame):
            self.admit(name)


def _asker(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code.co_filename in _TRANSPARENT:
        frame = frame.f_back
    return frame


def is_native_request(
    frame: FrameType | None,
    globals: Mapping[str, object] | None,
    locals: Mapping[str, object] | None,
    fromlist: Sequence[str] | None,
) -> bool:
    """Whether C code imports below a guest's frame, as `time.strptime` does with `_strptime`.

    PyImport_Import passes the frame's globals twice and an empty list; import statements pass
    a tuple or None. Code that names `__import__` itself could pass the same.
    """
    return (
        type(fromlist) is list
        and not fromlist
        and globals is not None
        and globals is locals
        and frame is not None
        and "__import__" not in frame.f_code.co_names
    )


def _absolute(name: str, globals: Mapping[str, object], level: int) -> str:
    """`name` without leading dots; unchanged if importlib is going to refuse it anyway."""
    if level <= 0:
        return name
    package = globals.get("__package__")
    if not isinstance(package, str):
        package = getattr(globals.get("__spec__"), "parent", None) or ""
    parts = package.split(".")
    if level > len(parts):
        return name
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])


def _dots(name: str) -> int:
    return len(name) - len(name.lstrip("."))


def _end_process() -> NoReturn:
    _kill(_getpid(), signal.SIGKILL)
    _exit(137)  # Reached if this process is the first of its pid namespace.


_in_force = ImportHook(
    ImportPolicy((), "allow", origins=Origins(GUEST_ROOTS)),
    lambda action, tried, rule, hint: None,
)


def in_force() -> ImportHook:
    """The gate that `install` put up; before that, one which is open."""
    return _in_force


def install(
    rules: Sequence[ImportRule],
    default: ImportAction,
    report: Report,
    *,
    guest_roots: Sequence[str] = GUEST_ROOTS,
    observe: Observe | None = None,
) -> None:
    """Put the policy in force in this process; it is not meant to be taken back.

    Modules below `guest_roots` and the working directory of this moment are guest code. A policy
    that refuses and reports nothing leaves the interpreter as it is, unless `observe` is to be
    told of every module; what else guest code does is then for another sensor.
    """
    global _in_force
    origins = Origins((*guest_roots, os.getcwd()))
    gate = _in_force = ImportHook(ImportPolicy(rules, default, origins=origins), report, observe)
    if gate.policy.is_open and observe is None:
        return
    builtins.__import__ = gate.import_
    importlib.__import__ = gate.import_
    importlib.import_module = gate.import_module
    sys.meta_path.insert(0, gate)
    if observe is not None:
        return
    audit.watch(
        is_guest=gate.policy.origins.is_guest_frame,
        is_own_file=gate.policy.origins.is_own_file,
        is_refused=lambda module: gate.policy.judge(module).is_refusal,
        report=gate.report,
    )
