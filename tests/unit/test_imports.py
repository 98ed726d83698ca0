"""Which imports of guest code pass, which are refused, and what is said about them.

A policy in force changes the interpreter for good, so each one lives in a forked child.
"""

import builtins
import fnmatch
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.language import imports
from sandbox.guest.language.code_origin import GUEST_ROOTS, Origins
from sandbox.guest.language.imports import ImportPolicy
from sandbox.protocol.plan import ImportAction, ImportRule

Told = list[list[str]]


def allow(pattern: str) -> ImportRule:
    return ImportRule(pattern, "allow", "part of the test")


def refuse(pattern: str, alternative: str = "") -> ImportRule:
    return ImportRule(pattern, "refuse", "no network in this jail", alternative)


def rule(pattern: str, action: ImportAction) -> ImportRule:
    return ImportRule(pattern, action, "part of the test")


def policy_of(rules: list[ImportRule], default: ImportAction) -> ImportPolicy:
    return ImportPolicy(rules, default, origins=Origins(GUEST_ROOTS))


class Jail:
    """Runs snippets under a policy, each in a child of its own."""

    def __init__(self, directory: Path) -> None:
        self.workspace = directory / "workspace"
        self.library = directory / "library"
        self.workspace.mkdir()
        self.library.mkdir()

    def run(self, source: str, *rules: ImportRule, default: ImportAction = "allow") -> Any:
        """The value of `result`, or the message of the ImportError that ended the snippet."""
        return self.run_and_listen(source, *rules, default=default)[0]

    def run_and_listen(
        self, source: str, *rules: ImportRule, default: ImportAction = "allow"
    ) -> tuple[Any, Told]:
        """The same, and what was reported."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._be_guest(source, rules, default, lambda row: os.write(write, _line(row)))
        os.close(write)
        with open(read, "rb") as stream:
            lines = [json.loads(line) for line in stream]
        _, self.status = os.waitpid(pid, 0)
        results = [line["result"] for line in lines if isinstance(line, dict)]
        told = [line for line in lines if isinstance(line, list)]
        return (results[0] if results else None), told

    def _be_guest(
        self,
        source: str,
        rules: tuple[ImportRule, ...],
        default: ImportAction,
        send: Callable[[Any], object],
    ) -> None:
        def tell(*row: str) -> None:
            send(list(row))

        try:
            sys.path.insert(0, str(self.library))
            os.chdir(self.workspace)
            imports.install(rules, default, tell, guest_roots=[str(self.workspace)])
            sys.path.insert(0, str(self.workspace))
            namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
            try:
                exec(compile(source, "<snippet 1>", "exec"), namespace)
            except ImportError as error:
                send({"result": f"{type(error).__name__}: {error}"})
            else:
                send({"result": namespace.get("result")})
        except BaseException as error:
            send({"result": f"the test failed: {error!r}"})
            raise
        finally:
            os._exit(0)


def _line(row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


@pytest.fixture
def jail(tmp_path: Path) -> Jail:
    return Jail(tmp_path)


REFUSED_SOCKET = (
    "ImportError: import of 'socket' is refused by rule 'socket* -> refuse': "
    "no network in this jail. Allowed instead: files in the workspace."
)


# ---- rules ---------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides() -> None:
    policy = policy_of([allow("urllib.parse"), refuse("urllib"), refuse("urllib.*")], "log")
    assert policy.judge("urllib.parse").action == "allow"
    assert policy.judge("urllib.request").rule == "urllib.*"
    assert policy.judge("json").action == "log"


names = st.lists(st.sampled_from(["os", "a", "b", "path", "numpy"]), min_size=1, max_size=3).map(
    ".".join
)
patterns = names | names.map(lambda name: name + ".*") | st.sampled_from(["*", "a*", "*.b", "o?"])
actions = st.sampled_from(["allow", "refuse", "log", "kill"])


@given(
    rules=st.lists(st.builds(rule, patterns, actions), max_size=8), default=actions, module=names
)
def test_a_verdict_is_the_first_glob_match_or_narrower(
    rules: list[ImportRule], default: ImportAction, module: str
) -> None:
    verdict = policy_of(rules, default).judge(module)
    for row in rules:
        if fnmatch.fnmatchcase(module, row.pattern):
            assert (verdict.action, verdict.rule) == (row.action, row.pattern)
            return
    assert verdict.action == default or verdict.is_refusal


def test_what_no_rule_names_is_refused_with_the_package_around_it() -> None:
    verdict = policy_of([refuse("os")], "allow").judge("os.path")
    assert (verdict.action, verdict.rule) == ("refuse", "os")


def test_a_refusal_without_alternative_names_what_is_allowed() -> None:
    policy = policy_of([allow("math"), allow("math.*"), allow("json")], "refuse")
    assert policy.judge("ssl").hint == "no rule allows it. Allowed instead: math, json."


def test_a_policy_that_allows_everything_is_open() -> None:
    assert policy_of([allow("math")], "allow").is_open
    assert not policy_of([rule("math", "log")], "allow").is_open
    assert not policy_of([], "refuse").is_open


def test_an_open_policy_leaves_the_interpreter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "_in_force", imports.in_force())
    before = (builtins.__import__, importlib.import_module, list(sys.meta_path))
    imports.install((), "allow", lambda *row: None)
    assert (builtins.__import__, importlib.import_module, list(sys.meta_path)) == before


def test_a_module_of_a_package_is_found_without_importing_the_package(tmp_path: Path) -> None:
    package = tmp_path / "lazy_package_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "part.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    try:
        assert imports.is_module("lazy_package_of_this_test.part")
        assert not imports.is_module("lazy_package_of_this_test.missing")
    finally:
        sys.path.remove(str(tmp_path))
    assert imports.is_module("os.path")
    assert not imports.is_module("os.getcwd")


# ---- requests of guest code ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import math, socket",
        "from socket import socket",
        "from socket import *",
        "__import__('socket')",
        "__import__('socket', globals(), locals(), [], 0)",
        "list(map(__import__, ['socket']))",
        "import importlib; importlib.import_module('socket')",
        "from importlib import import_module as load; load('socket')",
        "import importlib; importlib.__import__('socket')",
        "import importlib; importlib._bootstrap._gcd_import('socketserver')",
        "import importlib.util; importlib.util.find_spec('socketserver')",
        "exec('import socket')",
        "exec('import socket', {})",
        "eval('__import__(\"socket\")')",
        "(lambda: __import__('socket'))()",
        "class A:\n    import socket",
        "def f():\n    import socket\nlist(map(lambda _: f(), [1]))",
        "import sys; sys.modules.pop('socket', None); import socket",
        "import functools; functools.reduce(lambda _, name: __import__(name), ['', 'socket'])",
    ],
)
def test_a_refused_module_is_refused_however_a_snippet_asks(
    jail: Jail, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "socketserver", raising=False)
    message = jail.run(source, refuse("socket*", "files in the workspace"))
    server = REFUSED_SOCKET.replace("'socket'", "'socketserver'")
    assert message in (REFUSED_SOCKET, server)


def test_the_error_names_its_module(jail: Jail) -> None:
    source = "try:\n    import socket\nexcept ImportError as error:\n    result = error.name"
    assert jail.run(source, refuse("socket")) == "socket"


def test_a_module_that_the_interpreter_already_holds_is_refused_too(jail: Jail) -> None:
    assert "os" in sys.modules
    message = jail.run("import os", allow("math"), default="refuse")
    assert message == (
        "ImportError: import of 'os' is refused by rule 'default -> refuse': "
        "no rule allows it. Allowed instead: math."
    )


def test_an_allowed_module_is_the_real_one(jail: Jail) -> None:
    source = "import math as m, json.decoder\nresult = [m.pi > 3, json.decoder.__name__]"
    rules = (allow("math"), allow("json"), allow("json.*"))
    assert jail.run(source, *rules, default="refuse") == [True, "json.decoder"]


def test_a_missing_module_is_reported_missing_as_ever(jail: Jail) -> None:
    message = jail.run("import no_such_module_here", refuse("socket"))
    assert message == "ModuleNotFoundError: No module named 'no_such_module_here'"


def test_a_submodule_taken_from_its_package_is_judged_by_its_own_name(jail: Jail) -> None:
    rules = (refuse("concurrent.futures.process"), allow("*"))
    message = jail.run("from concurrent.futures import process", *rules)
    assert message is not None
    assert "import of 'concurrent.futures.process' is refused" in message
    source = "from concurrent.futures import wait\nresult = wait.__name__"
    assert jail.run(source, *rules) == "wait"


def test_a_plain_attribute_is_not_mistaken_for_a_submodule(jail: Jail) -> None:
    source = "from os import getcwd\nresult = getcwd.__name__"
    assert jail.run(source, allow("os"), refuse("os.*")) == "getcwd"


def test_os_path_does_not_bring_os_along(jail: Jail) -> None:
    rules = (allow("os.path"),)
    source = "from os.path import join\nresult = join('a', 'b')"
    assert jail.run(source, *rules, default="refuse") == "a/b"
    message = jail.run("import os.path", *rules, default="refuse")
    assert message is not None
    assert message.startswith("ImportError: import of 'os' is refused by rule 'default -> refuse'")


# ---- requests of others --------------------------------------------------------------------------


def test_an_installed_module_imports_what_the_snippet_may_not(jail: Jail) -> None:
    (jail.library / "tool.py").write_text(
        "import socket, importlib\n"
        "def late(name):\n    import ssl\n    return importlib.import_module(name).__name__\n"
    )
    source = "import tool\nresult = [tool.socket.__name__, tool.late('socketserver')]"
    rules = (allow("tool"),)
    result, told = jail.run_and_listen(source, *rules, default="refuse")
    assert result == ["socket", "socketserver"]
    assert told == []


def test_native_code_loads_its_helpers_for_the_snippet(
    jail: Jail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "_strptime", raising=False)
    source = "import time\nresult = time.strptime('2020', '%Y').tm_year"
    assert jail.run(source, allow("time"), default="refuse") == 2020


def test_a_module_of_the_workspace_is_guest_code(jail: Jail) -> None:
    (jail.workspace / "helper.py").write_text("import math\ndef f():\n    import socket\n")
    rules = (allow("math"), refuse("socket*", "files in the workspace"))
    assert jail.run("import helper\nhelper.f()", *rules, default="refuse") == REFUSED_SOCKET


def test_relative_imports_of_a_workspace_package_pass_and_are_judged_inside(jail: Jail) -> None:
    package = jail.workspace / "parts"
    package.mkdir()
    (package / "__init__.py").write_text("from . import one\nfrom .one import value\n")
    (package / "one.py").write_text("value = 1\n")
    (package / "two.py").write_text("from .one import value\nimport ssl\n")
    assert jail.run("import parts\nresult = parts.value", default="refuse") == 1
    message = jail.run("import parts.two", default="refuse")
    assert message is not None
    assert message.startswith("ImportError: import of 'ssl' is refused")


def test_a_workspace_file_does_not_lift_the_rule_for_its_name(jail: Jail) -> None:
    (jail.workspace / "socket.py").write_text("")
    rules = (refuse("socket*", "files in the workspace"),)
    assert jail.run("import socket", *rules) == REFUSED_SOCKET


# ---- actions and reports -------------------------------------------------------------------------


def test_a_refusal_is_reported_with_its_rule_and_hint(jail: Jail) -> None:
    _, told = jail.run_and_listen("import socket", refuse("socket*", "files"))
    assert told == [["refuse", "socket", "socket*", "no network in this jail. "
                     "Allowed instead: files."]]  # fmt: skip


def test_a_logged_module_is_imported_and_reported(jail: Jail) -> None:
    source = "import json\nresult = json.dumps(1)"
    result, told = jail.run_and_listen(source, rule("json", "log"))
    assert result == "1"
    assert told == [["log", "json", "json", "part of the test"]]


def test_a_killing_rule_reports_and_then_ends_the_process(jail: Jail) -> None:
    source = "try:\n    import socket\nexcept BaseException:\n    result = 'alive'"
    result, told = jail.run_and_listen(source, rule("socket", "kill"))
    assert result is None
    assert [row[:3] for row in told] == [["kill", "socket", "socket"]]
    assert os.WTERMSIG(jail.status) == signal.SIGKILL


# ---- the sensor ----------------------------------------------------------------------------------


def test_events_of_the_snippet_are_reported_under_a_policy(jail: Jail) -> None:
    source = (
        "import os, gc\n"
        "open('mine.txt', 'w').close()\n"
        "try: open('/no/such/place', 'w')\n"
        "except OSError: pass\n"
        "gc.get_objects()\n"
        "def f(): pass\n"
        "def g(): pass\n"
        "f.__code__ = g.__code__\n"
    )
    _, told = jail.run_and_listen(source, refuse("socket"))
    assert told == [
        ["log", "open('/no/such/place')", "audit open",
         "The snippet writes outside the workspace."],
        ["log", "gc.get_objects(-1)", "audit gc.get_objects",
         "The snippet looks for objects that it was not given."],
        ["log", "object.__setattr__('__code__')", "audit object.__setattr__",
         "The snippet changes the code of a function."],
    ]  # fmt: skip


def test_unpickling_a_refused_module_is_reported(jail: Jail) -> None:
    source = "import pickle\nresult = pickle.loads(b'cposixpath\\njoin\\n.').__name__"
    result, told = jail.run_and_listen(source, refuse("posixpath"))
    assert result == "join"
    assert [row[1:3] for row in told] == [
        ["pickle.find_class('posixpath.join')", "audit pickle.find_class"]
    ]


def test_events_while_an_installed_module_loads_are_not_the_snippets(jail: Jail) -> None:
    (jail.library / "loader.py").write_text(
        "import gc\ngc.get_objects()\ndef late(): gc.get_objects()\n"
    )
    _, told = jail.run_and_listen("import loader", refuse("socket"))
    assert told == []
    _, told = jail.run_and_listen("import loader; loader.late()", refuse("socket"))
    assert [row[1] for row in told] == ["gc.get_objects(-1)"]


def test_without_a_policy_nothing_is_reported(jail: Jail) -> None:
    result, told = jail.run_and_listen("import gc\nresult = len(gc.get_objects()) > 0")
    assert (result, told) == (True, [])


# ---- origins -------------------------------------------------------------------------------------


def test_the_longest_root_decides_whose_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/tmp/environment/site-packages", "", "/mnt/data/lib"])
    origins = Origins(["/mnt/data", "/tmp"])
    assert not origins.is_guest_file("/tmp/environment/site-packages/pandas/__init__.py")
    assert origins.is_guest_file("/tmp/made_up.py")
    assert origins.is_guest_file("/mnt/data/lib/helper.py")
    assert origins.is_guest_file("helper.py")
    assert not origins.is_guest_file(os.__file__)
    assert not origins.is_guest_file(imports.__file__)
