"""The architecture, held by tests: which module may import which, and what none may do.

The tables come first and are all there is to change when a module is added. Each rule reads
sources and never imports them; each is also shown a small tree that breaks it.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sandbox", "runner")

# Modules of one row may import each other, but never in a circle; each may import what is in a
# row above its own. "name.*" stands for a package.
HOST_ORDER = (
    ("sandbox.errors",),
    ("sandbox.protocol.*",),
    ("sandbox.policy.arguments",),
    ("sandbox.packages.store",),
    ("sandbox.packages.installer",),
    ("sandbox.policy.settings", "sandbox.policy.presets", "sandbox.doctor.remedies"),
    ("sandbox.network.*", "sandbox.outcome_text"),
    ("sandbox.policy.profiles",),
    (
        "sandbox.policy.limits",
        "sandbox.policy.policy",
        "sandbox.outcome",
        "sandbox.policy.environment",
    ),
    (
        "sandbox.policy.sizes",
        "sandbox.processes.worker_state",
        "sandbox.processes.meter",
        "sandbox.processes.cgroup",
        "sandbox.cancellation",
        "sandbox.processes.directories",
        "sandbox.processes.fork_safety",
        "sandbox.processes.host_channel",
        "sandbox.processes.init_process",
        "sandbox.session.runs.output",
        "sandbox.session.runs.timers",
    ),
    ("sandbox.policy.comparison",),
    (
        "sandbox.processes.guest_process",
        "sandbox.processes.entry_gate",
        "sandbox.processes.commands",
        "sandbox.trace.call_refusals",
    ),
    (
        "sandbox.policy.lowering",
        "sandbox.events",
        "sandbox.session.expiry",
        "sandbox.session.best_of",
    ),
    ("sandbox.files.beneath", "sandbox.files.pace"),
    ("sandbox.files.file_trees", "sandbox.files.file_streams", "sandbox.files.tree_shapes"),
    ("sandbox.files.workspace",),
    ("sandbox.packages.laying", "sandbox.packages.byte_code"),
    ("sandbox.session.host_tools",),
    ("sandbox.session.runs.request",),
    ("sandbox.files.file_snapshots",),
    ("sandbox.doctor.features", "sandbox.doctor.environment_report"),
    ("sandbox.session.description",),
    ("sandbox.processes.worker",),
    ("sandbox.session.runs.copies_memory",),
    ("sandbox.processes.branching", "sandbox.processes.zygote", "sandbox.processes.pool"),
    ("sandbox.processes.supply",),
    (
        "sandbox.trace.collector",
        "sandbox.trace.errors",
        "sandbox.trace.proxy_refusals",
        "sandbox.trace.remedies",
    ),
    (
        "sandbox.session.runs.run_output",
        "sandbox.session.runs.limit_watch",
        "sandbox.session.runs.takeover",
    ),
    ("sandbox.session.runs.snippet_run", "sandbox.session.checkpoints"),
    ("sandbox.session.network",),
    ("sandbox.session.runs.outcomes",),
    ("sandbox.files.session_files",),
    ("sandbox.session.live_session",),
    ("sandbox.session.renewal",),
    ("sandbox.session.commands.command",),
    ("sandbox.session.commands.command_calls", "sandbox.session.file_calls"),
    ("sandbox.session.install_calls",),
    ("sandbox.session.turns",),
    ("sandbox.session.values",),
    ("sandbox.session.session",),
    ("sandbox.session.kept_jails", "sandbox.session.mapped"),
    ("sandbox.remote.connection", "sandbox.remote.faults", "sandbox.remote.relayed_tools"),
    ("sandbox.remote.server", "sandbox.remote.event_stream", "sandbox.remote.tool_calls"),
    ("sandbox.remote.command", "sandbox.remote.expecting"),
    ("sandbox.remote.remote_files", "sandbox.remote.remote_calls"),
    ("sandbox.remote.session",),
    ("sandbox.remote.sandbox",),
    ("sandbox.cluster.address", "sandbox.cluster.place"),
    ("sandbox.cluster.cluster",),
    ("sandbox.cluster.calls",),
    ("sandbox.cluster.session",),
    ("sandbox.cluster.sandbox",),
    ("sandbox.engine",),
    ("sandbox.loop_thread",),
    ("sandbox.blocking_files",),
    ("sandbox.blocking",),
    ("sandbox.alias.cellblock",),
    ("sandbox.packages.environments",),
)
GUEST_ORDER = (
    ("sandbox.protocol.*",),
    (
        "sandbox.guest.kernel.syscalls",
        "sandbox.guest.jail.callrules",
        "sandbox.guest.kernel.guest_channel",
    ),
    ("sandbox.guest.kernel.procfs",),
    ("sandbox.guest.boot.children",),
    ("sandbox.guest.kernel.sysapi",),
    ("sandbox.guest.jail.landlock", "sandbox.guest.jail.seccomp", "sandbox.guest.jail.rlimits"),
    (
        "sandbox.guest.session.atfork",
        "sandbox.guest.session.interpreter",
        "sandbox.guest.child_path.pip",
        "sandbox.guest.language.hooks",
        "sandbox.guest.language.import_clock",
        "sandbox.guest.language.kept_code",
        "sandbox.guest.language.code_origin",
        "sandbox.guest.language.audit",
        "sandbox.guest.language.audited_events",
    ),
    ("sandbox.guest.language.attempts", "sandbox.guest.jail.traced_rules"),
    (
        "sandbox.guest.language.imports",
        "sandbox.guest.language.safe_builtins",
        "sandbox.guest.language.sources",
    ),
    ("sandbox.guest.language.rewrites",),
    ("sandbox.guest.language.guards",),
    ("sandbox.guest.language.restricted",),
    ("sandbox.guest.language.review",),
    ("sandbox.guest.session.compiler", "sandbox.guest.language.check"),
    (
        "sandbox.guest.session.chmod_shim",
        "sandbox.guest.display.texts",
        "sandbox.guest.display.names",
        "sandbox.guest.display.tables",
    ),
    (
        "sandbox.guest.display.figure_data",
        "sandbox.guest.display.figures",
        "sandbox.guest.display.charts",
        "sandbox.guest.display.libraries",
        "sandbox.guest.display.ipython",
        "sandbox.guest.display.advice",
        "sandbox.guest.display.bundles",
        "sandbox.guest.display.tracebacks",
    ),
    (
        "sandbox.guest.display.board",
        "sandbox.guest.display.warned",
        "sandbox.guest.session.uncaught",
    ),
    (
        "sandbox.guest.display.display",
        "sandbox.guest.session.eventloop",
        "sandbox.guest.notebook.history",
        "sandbox.guest.notebook.results",
        "sandbox.guest.notebook.words",
        "sandbox.guest.display.streams",
    ),
    (
        "sandbox.guest.notebook.line_magics",
        "sandbox.guest.notebook.shell",
        "sandbox.guest.notebook.forms",
    ),
    ("sandbox.guest.survival.child_pools", "sandbox.guest.survival.duckdb_threads"),
    ("sandbox.guest.survival.python_threads",),
    ("sandbox.guest.survival.pools",),
    (
        "sandbox.guest.session.program_end",
        "sandbox.guest.notebook.magics",
        "sandbox.guest.session.main_module",
        "sandbox.guest.session.library_changes",
    ),
    ("sandbox.guest.exchange.host_tools",),
    (
        "sandbox.guest.session.snippet",
        "sandbox.guest.exchange.queries",
        "sandbox.guest.exchange.trace",
    ),
    ("sandbox.guest.jail.machine",),
    (
        "sandbox.guest.jail.root",
        "sandbox.guest.jail.path_access",
        "sandbox.guest.boot.memory",
        "sandbox.guest.boot.attribute_names",
    ),
    ("sandbox.guest.jail.jail",),
    ("sandbox.guest.branching.event_objects",),
    ("sandbox.guest.branching.own_objects",),
    ("sandbox.guest.branching.branch", "sandbox.guest.branching.refused_calls"),
    ("sandbox.guest.branching.seccomp_notifier",),
    ("sandbox.guest.branching.namespace_builder", "sandbox.guest.session.copies"),
    ("sandbox.guest.session.entrant", "sandbox.guest.session.calls"),
    ("sandbox.guest.session.session_process",),
    ("sandbox.guest.boot.rehearsal",),
    ("sandbox.guest.boot.commands",),
    ("sandbox.guest.boot.compile_ahead",),
    ("sandbox.guest.boot.init",),
    ("sandbox.guest.boot.holder",),
    ("sandbox.guest.boot.zygote",),
    ("sandbox.guest.boot.launcher",),
    ("sandbox.guest.probe.trial",),
    ("sandbox.guest.probe.probe_cgroup", "sandbox.guest.probe.probe_namespaces"),
    ("sandbox.guest.probe.probe",),
)
RUNNER_ORDER = (
    ("runner.errors", "runner.terminal", "runner.extras", "runner.bundles"),
    ("runner.config_problems", "runner.kept_key"),
    ("runner.config", "runner.asked_limits"),
    ("runner.transcript", "runner.events"),
    ("runner.web.*",),
    ("runner.models.*", "runner.tools.*", "runner.dialects.*"),
    ("runner.loop", "runner.doctor", "runner.page.*"),
    ("runner.server.*", "runner.evals.*", "runner.faces.*"),
    ("runner.commands.*", "runner.demo"),
    ("runner.cli",),
    ("runner.__main__",),
)
ORDERS = (("sandbox.guest.*", GUEST_ORDER), ("sandbox.*", HOST_ORDER), ("runner.*", RUNNER_ORDER))
UNORDERED = ("sandbox", "runner")
"""Packages whose names are resolved on first use."""

ENDS = (  # who          may not import     why
    ("sandbox.*", "runner", "the engine stands alone"),
    ("host", "sandbox.guest", "the host starts guest code by name and never loads it"),
    ("sandbox.guest.*", "host", "a worker inherits its zygote's memory, which must stay small"),
    ("sandbox.protocol.*", "sandbox.guest", "both sides load it"),
    ("sandbox.protocol.*", "host", "both sides load it"),
)
STANDARD_LIBRARY_ONLY = (
    ("sandbox.guest.*", ("RestrictedPython",)),
    ("sandbox.protocol.*", ()),
)
"""Patterns of modules, and the libraries that one of them may have all the same (see HOMES)."""
HOMES: Mapping[str, tuple[str, ...]] = {  # library -> the modules that may import it
    "zmq": ("runner.faces.jupyter.opening", "runner.faces.jupyter.zmq_kernel"),
    "h11": ("sandbox.network.*", "sandbox.remote.*"),
    "ray": ("sandbox.cluster.*", "runner.evals.cluster"),
    "psutil": ("sandbox.processes.meter",),
    "RestrictedPython": ("sandbox.guest.language.restricted",),
    "pydantic": ("sandbox.*", "runner.*"),
    "rich": ("runner.*",),
    "click": ("runner.cli", "runner.commands.*"),
    "fastapi": ("runner.server.*",),
    "starlette": ("runner.server.*",),
    "anyio": ("runner.server.*",),
    "mcp": ("runner.faces.*",),
    "mcp_types": ("runner.faces.*",),
    "uvicorn": (
        "runner.server.program",
        "runner.server.http.connections",
        "runner.server.websockets",
    ),
    "opentelemetry": ("runner.server.*",),
    "httpx2": ("runner.faces.mcp_client", "runner.models.*", "runner.web.fetch"),
}
"""Any other library may be imported by one module alone."""
GUEST_SIDES = ("sandbox.guest.*", "runner.evals.guest.*")
"""Where the code runs in a jail: the second is sent there as text and never imported."""
HOST_NEVER_IMPORTS = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml")
HOST_NEVER_CALLS = ("eval", "exec")


# ---- sources ------------------------------------------------------------------------------------


class Violation(NamedTuple):
    path: str
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.what}"


class Import(NamedTuple):
    line: int
    target: str
    """A module of the tree, or what stands in the statement."""
    name: str
    """What `from target import name` takes; empty for a whole module."""
    is_for_types: bool


class Module(NamedTuple):
    name: str
    path: str
    source: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def is_room(self) -> bool:
        """Whether it is a package that holds nothing but a docstring."""
        is_package = self.path.endswith("/__init__.py")
        return is_package and all(isinstance(one, ast.Expr) for one in self.tree.body)

    @property
    def is_host(self) -> bool:
        is_shared = matches(self.name, ("sandbox.guest.*", "sandbox.protocol.*"))
        return matches(self.name, ("sandbox.*",)) and not is_shared


Tree = Mapping[str, Module]


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether `name` fits a pattern; "package.*" takes in the package itself."""
    return any(fnmatchcase(name, one) or one == f"{name}.*" for one in patterns)


def parse(sources: Mapping[str, str]) -> Tree:
    """The modules in `sources`, by name; keys are paths relative to the checkout."""
    names = {path: ".".join(Path(path).with_suffix("").parts) for path in sources}
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    known = set(names.values())
    modules = {}
    for path, source in sources.items():
        tree = ast.parse(source, path)
        imports = tuple(imports_of(tree, known, for_types=False))
        modules[names[path]] = Module(names[path], path, source, tree, imports)
    return modules


def imports_of(node: ast.AST, known: set[str], *, for_types: bool) -> Iterator[Import]:
    """Every import below `node`, also inside functions; `known` are the tree's own modules."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(child.lineno, alias.name, "", for_types)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            for alias in child.names:
                whole = f"{base}.{alias.name}"
                if whole in known:
                    yield Import(child.lineno, whole, "", for_types)
                else:
                    yield Import(child.lineno, base, alias.name, for_types)
        elif isinstance(child, ast.Call) and called(child) in ("import_module", "__import__"):
            first = child.args[0] if child.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(child.lineno, first.value, "", for_types)
            yield from imports_of(child, known, for_types=for_types)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from imports_of(ast.Module([part], []), known, for_types=True)
            for part in child.orelse:
                yield from imports_of(ast.Module([part], []), known, for_types=for_types)
        else:
            yield from imports_of(child, known, for_types=for_types)


def called(call: ast.Call) -> str:
    """Last part of the name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def library_of(target: str) -> str | None:
    """The third-party library that `target` belongs to; None for ours and the standard ones."""
    top = target.partition(".")[0]
    is_known = top in PACKAGES or top in sys.stdlib_module_names or not top
    return None if is_known else top


# ---- rules --------------------------------------------------------------------------------------


def order_of(name: str) -> tuple[tuple[str, ...], ...]:
    return next(order for pattern, order in ORDERS if matches(name, (pattern,)))


def rank_in(order: tuple[tuple[str, ...], ...], name: str) -> int | None:
    return next((rank for rank, row in enumerate(order) if matches(name, row)), None)


def imports_point_one_way(tree: Tree) -> Iterator[Violation]:
    rule = "imports point one way"
    for module in tree.values():
        if module.name in UNORDERED or module.is_room:
            continue
        if matches(module.name, ("sandbox.protocol.*",)):
            continue
        order = order_of(module.name)
        own = rank_in(order, module.name)
        if own is None:
            what = f"{module.name} has no place: put it into an *_ORDER table of {__name__}"
            yield Violation(module.path, 1, rule, what)
            continue
        for found in module.imports:
            # Names for annotations load nothing.
            if found.is_for_types or found.target not in tree or found.target in UNORDERED:
                continue
            if tree[found.target].is_room:
                continue
            rank = rank_in(order, found.target)
            if rank is not None and rank > own:
                what = f"{module.name} imports {found.target}, which stands above it"
                yield Violation(module.path, found.line, rule, what)


def imports_make_no_circle(tree: Tree) -> Iterator[Violation]:
    # Also imports for annotations alone: a reader has to follow them. Packages that resolve their
    # names on first use lead everywhere.
    needs = {
        name: {one.target: one for one in module.imports if one.target not in UNORDERED}
        for name, module in tree.items()
    }
    for name, module in tree.items():
        for found in needs[name].values():
            reached, new = set(), {found.target}
            while new:
                reached |= new
                new = {far for near in new for far in needs.get(near, ())} - reached
            if name in reached:
                what = f"{name} imports {found.target}, which leads back to it"
                yield Violation(module.path, found.line, "imports make no circle", what)


def sides_stay_apart(tree: Tree) -> Iterator[Violation]:
    for module in tree.values():
        for found in module.imports:
            full = f"{found.target}.{found.name}" if found.name else found.target
            for who, whom, why in ENDS:
                is_meant = module.is_host if who == "host" else matches(module.name, (who,))
                if not is_meant:
                    continue
                if whom == "host":
                    # The bare package resolves its names to host modules.
                    is_reached = full.partition(".")[0] == "sandbox" and not matches(
                        found.target, ("sandbox.guest.*", "sandbox.protocol.*")
                    )
                else:
                    is_reached = full == whom or full.startswith(f"{whom}.")
                if is_reached:
                    what = f"{module.name} imports {full}: {why}"
                    yield Violation(module.path, found.line, "sides stay apart", what)


def the_runner_uses_public_names(tree: Tree) -> Iterator[Violation]:
    rule = "the runner uses public names"
    public = public_names(tree["sandbox"]) if "sandbox" in tree else set()
    for module in tree.values():
        if not matches(module.name, ("runner.*",)):
            continue
        for found in module.imports:
            if found.target.partition(".")[0] != "sandbox":
                continue
            if found.target != "sandbox":
                what = f"{found.target} is inside the engine: use `from sandbox import ...`"
            elif not found.name:
                what = "`import sandbox` hides what is used: use `from sandbox import ...`"
            elif found.name not in public:
                what = f"{found.name} is not in sandbox.__all__"
            else:
                continue
            yield Violation(module.path, found.line, rule, what)


def public_names(package: Module) -> set[str]:
    """The strings in `__all__` of `package`."""
    for node in package.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            return set(ast.literal_eval(node.value))
    return set()


def imports_are_absolute(tree: Tree) -> Iterator[Violation]:
    for module in tree.values():
        for found in module.imports:
            if found.target.startswith("."):
                what = f"{module.name} imports {found.target}"
                yield Violation(module.path, found.line, "imports are absolute", what)


def inside_the_jail_is_the_standard_library(tree: Tree) -> Iterator[Violation]:
    rule = "inside the jail is the standard library"
    for module in tree.values():
        for pattern, exceptions in STANDARD_LIBRARY_ONLY:
            if not matches(module.name, (pattern,)):
                continue
            for found in module.imports:
                library = library_of(found.target)
                if library is not None and library not in exceptions:
                    what = f"{module.name} imports {library}"
                    yield Violation(module.path, found.line, rule, what)


def a_library_has_one_home(tree: Tree) -> Iterator[Violation]:
    rule = "a library has one home"
    first: dict[str, str] = {}
    for name in sorted(tree):
        module = tree[name]
        for found in module.imports:
            library = library_of(found.target)
            if library is None:
                continue
            homes = HOMES.get(library) or (first.setdefault(library, name),)
            if not matches(name, homes):
                what = f"{name} imports {library}, which is at home in {', '.join(homes)}"
                yield Violation(module.path, found.line, rule, what)


def the_host_runs_no_bytes(tree: Tree) -> Iterator[Violation]:
    rule = "the host runs no bytes"
    for module in tree.values():
        if matches(module.name, GUEST_SIDES):
            continue
        for found in module.imports:
            if matches(found.target.partition(".")[0], HOST_NEVER_IMPORTS):
                what = f"{module.name} imports {found.target}"
                yield Violation(module.path, found.line, rule, what)
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in HOST_NEVER_CALLS
            ):
                what = f"{module.name} calls {node.func.id}"
                yield Violation(module.path, node.lineno, rule, what)


Rule = Callable[[Tree], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    imports_point_one_way,
    imports_make_no_circle,
    sides_stay_apart,
    the_runner_uses_public_names,
    imports_are_absolute,
    inside_the_jail_is_the_standard_library,
    a_library_has_one_home,
    the_host_runs_no_bytes,
)


# ---- the checkout -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout() -> Tree:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return parse({str(path.relative_to(ROOT)): path.read_text() for path in paths})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_checkout_keeps_the_rule(rule, checkout):
    violations = [str(violation) for violation in rule(checkout)]
    assert not violations, "\n" + "\n".join(violations)


def test_the_checkout_is_read_whole(checkout):
    assert {"sandbox", "sandbox.errors", "sandbox.guest.boot.zygote", "runner.doctor"} <= set(
        checkout
    )
    targets = {found.target for found in checkout["sandbox.doctor.features"].imports}
    assert {"sandbox.errors", "sandbox.policy.lowering", "pydantic"} <= targets


def test_every_place_in_an_order_is_taken_once():
    for _pattern, order in ORDERS:
        places = [place for row in order for place in row]
        assert len(places) == len(set(places))


# ---- each rule, shown a tree that breaks it -----------------------------------------------------

INIT = '__all__ = ["Policy"]\n'


@pytest.mark.parametrize(
    ("rule", "path", "source", "line", "what"),
    [
        (
            imports_point_one_way,
            "sandbox/policy/limits.py",
            "import os\nfrom sandbox.session.session import Session\n",
            2,
            "sandbox.policy.limits imports sandbox.session.session, which stands above it",
        ),
        (
            imports_point_one_way,
            "sandbox/errors.py",
            "def late():\n    from sandbox.session import session\n",
            2,
            "sandbox.errors imports sandbox.session.session, which stands above it",
        ),
        (
            imports_point_one_way,
            "sandbox/manager.py",
            "",
            1,
            f"sandbox.manager has no place: put it into an *_ORDER table of {__name__}",
        ),
        (
            imports_point_one_way,
            "sandbox/guest/kernel/sysapi.py",
            "from sandbox.guest.boot.zygote import serve\n",
            1,
            "sandbox.guest.kernel.sysapi imports sandbox.guest.boot.zygote, which stands above it",
        ),
        (
            imports_make_no_circle,
            "sandbox/session/session.py",
            "import sandbox.session.turns\n",
            1,
            "sandbox.session.session imports sandbox.session.turns, which leads back to it",
        ),
        (
            imports_make_no_circle,
            "sandbox/session/session.py",
            "if TYPE_CHECKING:\n    from sandbox.session.turns import Run\n",
            2,
            "sandbox.session.session imports sandbox.session.turns, which leads back to it",
        ),
        (
            sides_stay_apart,
            "sandbox/session/session.py",
            "from sandbox.guest.boot import zygote\n",
            1,
            "sandbox.session.session imports sandbox.guest.boot.zygote: the host starts guest code"
            " by name and never loads it",
        ),
        (
            sides_stay_apart,
            "sandbox/session/session.py",
            'import importlib\nzygote = importlib.import_module("sandbox.guest.boot.zygote")\n',
            2,
            "sandbox.session.session imports sandbox.guest.boot.zygote: the host starts guest code"
            " by name and never loads it",
        ),
        (
            sides_stay_apart,
            "sandbox/guest/boot/zygote.py",
            "from sandbox import Policy\n",
            1,
            "sandbox.guest.boot.zygote imports sandbox.Policy: a worker inherits its zygote's"
            " memory, which must stay small",
        ),
        (
            sides_stay_apart,
            "sandbox/guest/boot/zygote.py",
            "from sandbox.errors import SandboxError\n",
            1,
            "sandbox.guest.boot.zygote imports sandbox.errors.SandboxError: a worker inherits its"
            " zygote's memory, which must stay small",
        ),
        (
            sides_stay_apart,
            "sandbox/protocol/plan.py",
            "from sandbox.guest.boot.zygote import serve\n",
            1,
            "sandbox.protocol.plan imports sandbox.guest.boot.zygote.serve: both sides load it",
        ),
        (
            sides_stay_apart,
            "sandbox/session/session.py",
            "if TYPE_CHECKING:\n    from runner.loop import Loop\n",
            2,
            "sandbox.session.session imports runner.loop.Loop: the engine stands alone",
        ),
        (
            the_runner_uses_public_names,
            "runner/loop.py",
            "from sandbox.policy.policy import Policy\n",
            1,
            "sandbox.policy.policy is inside the engine: use `from sandbox import ...`",
        ),
        (
            the_runner_uses_public_names,
            "runner/loop.py",
            "from sandbox.session import session\n",
            1,
            "sandbox.session.session is inside the engine: use `from sandbox import ...`",
        ),
        (
            the_runner_uses_public_names,
            "runner/loop.py",
            "from sandbox import Policy, Secret\n",
            1,
            "Secret is not in sandbox.__all__",
        ),
        (
            the_runner_uses_public_names,
            "runner/loop.py",
            "import sandbox\n",
            1,
            "`import sandbox` hides what is used: use `from sandbox import ...`",
        ),
        (
            imports_are_absolute,
            "sandbox/session/session.py",
            "from .errors import SandboxError\n",
            1,
            "sandbox.session.session imports .errors",
        ),
        (
            inside_the_jail_is_the_standard_library,
            "sandbox/guest/boot/zygote.py",
            "import json\nimport numpy.linalg\n",
            2,
            "sandbox.guest.boot.zygote imports numpy",
        ),
        (
            inside_the_jail_is_the_standard_library,
            "sandbox/protocol/plan.py",
            "from pydantic import BaseModel\n",
            1,
            "sandbox.protocol.plan imports pydantic",
        ),
        (
            a_library_has_one_home,
            "sandbox/session/session.py",
            "import psutil\n",
            1,
            "sandbox.session.session imports psutil, which is at home in sandbox.processes.meter",
        ),
        (
            a_library_has_one_home,
            "sandbox/guest/boot/zygote.py",
            "from RestrictedPython.Guards import safe_builtins\n",
            1,
            "sandbox.guest.boot.zygote imports RestrictedPython, which is at home in"
            " sandbox.guest.language.restricted",
        ),
        (
            a_library_has_one_home,
            "sandbox/session/session.py",
            "import httpx\n",
            1,
            "sandbox.session.session imports httpx, which is at home in runner.loop",
        ),
        (
            the_host_runs_no_bytes,
            "sandbox/session/session.py",
            "import pickle\n",
            1,
            "sandbox.session.session imports pickle",
        ),
        (
            the_host_runs_no_bytes,
            "runner/loop.py",
            "def f(text):\n    return eval(text)\n",
            2,
            "runner.loop calls eval",
        ),
    ],
)
def test_a_broken_rule_is_found_with_its_file_and_line(rule, path, source, line, what):
    sources = {
        "sandbox/__init__.py": INIT,
        "sandbox/errors.py": "",
        "sandbox/policy/policy.py": "",
        "sandbox/session/session.py": "",
        "sandbox/session/turns.py": "from sandbox.session.session import Session\n",
        "sandbox/protocol/plan.py": "",
        "sandbox/guest/boot/zygote.py": "",
        "runner/loop.py": "import httpx\nfrom sandbox import Policy\n",
        path: source,
    }
    found = [violation for violation in rule(parse(sources)) if violation.path == path]
    name = rule.__name__.replace("_", " ")
    assert [str(violation) for violation in found] == [f"{path}:{line}: {name}: {what}"]


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (
            imports_point_one_way,
            "sandbox/session/session.py",
            "from sandbox import errors, policy\n",
        ),
        (
            imports_point_one_way,
            "sandbox/policy/policy.py",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import sandbox.session.session\n",
        ),
        (sides_stay_apart, "sandbox/session/session.py", 'BY_NAME = "sandbox.guest.boot.zygote"\n'),
        (sides_stay_apart, "sandbox/guest/boot/zygote.py", "from sandbox.protocol import plan\n"),
        (
            sides_stay_apart,
            "sandbox/guest/boot/zygote.py",
            "from sandbox.guest.boot.zygote import serve\n",
        ),
        (the_runner_uses_public_names, "runner/loop.py", "from sandbox import Policy\n"),
        (
            inside_the_jail_is_the_standard_library,
            "sandbox/guest/boot/zygote.py",
            "import os.path\n",
        ),
        (a_library_has_one_home, "sandbox/policy/policy.py", "from pydantic import BaseModel\n"),
        (the_host_runs_no_bytes, "sandbox/guest/boot/zygote.py", "exec('1')\nimport marshal\n"),
        (the_host_runs_no_bytes, "runner/loop.py", "model.eval()\n"),
    ],
)
def test_what_a_rule_allows_is_not_reported(rule, path, source):
    sources = {
        "sandbox/__init__.py": INIT,
        "sandbox/errors.py": "",
        "sandbox/policy/policy.py": "",
        "sandbox/session/session.py": "",
        "sandbox/protocol/plan.py": "",
        "sandbox/guest/boot/zygote.py": "",
        path: source,
    }
    assert list(rule(parse(sources))) == []
