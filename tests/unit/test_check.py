"""What `check` tells about a snippet without running it."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.guest.language.check import Findings, check
from sandbox.guest.language.code_origin import Origins
from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.frames import FrameReader
from sandbox.protocol.messages import ROWS_CAP, Checked, pack, unpack
from sandbox.protocol.plan import ImportAction, ImportRule, Language


def rule(pattern: str, action: ImportAction, alternative: str = "") -> ImportRule:
    return ImportRule(pattern, action, "part of the test", alternative)


NO_NETWORK = [rule("socket*", "refuse", "files"), rule("urllib.parse", "allow"),
              rule("urllib", "refuse"), rule("json", "log"), rule("ctypes", "kill")]  # fmt: skip


def imports_of(code: str, default: ImportAction = "allow") -> list[list[str | int]]:
    return check(code, NO_NETWORK, default, "full").imports


def refusals_of(code: str, language: Language = "restricted") -> list[list[str | int]]:
    return check(code, [], "allow", language).refusals


# ---- imports -------------------------------------------------------------------------------------


def test_imports_are_found_at_any_depth() -> None:
    code = (
        "import math, json\n"
        "try:\n    import socket as s\nexcept ImportError: pass\n"
        "class A:\n    def f(self):\n        from random import choice\n"
        "g = lambda: [__import__('ctypes') for _ in ()]\n"
        "import importlib\n"
        "importlib.import_module('ssl')\n"
        "load = importlib.import_module; load('decimal')\n"
    )
    assert imports_of(code) == [
        ["json", 1, "log", "json"],
        ["math", 1, "allow", "default"],
        ["socket", 3, "refuse", "socket*"],
        ["random", 7, "allow", "default"],
        ["ctypes", 8, "kill", "ctypes"],
        ["importlib", 9, "allow", "default"],
        ["ssl", 10, "allow", "default"],
    ]


def test_a_refused_import_is_a_refusal_with_its_reason_and_alternative() -> None:
    found = check("x = 1\nimport math, socket", NO_NETWORK, "allow", "full")
    assert found.refusals == [
        [2, "import socket",
         "import of 'socket': socket* -> refuse: part of the test. Allowed instead: files."]
    ]  # fmt: skip


def test_a_module_taken_from_its_package_is_told_by_its_full_name() -> None:
    assert imports_of("from urllib import parse") == [["urllib.parse", 1, "allow", "urllib.parse"]]
    assert [row[:3] for row in imports_of("from urllib import parse, missing")] == [
        ["urllib", 1, "refuse"],
        ["urllib.parse", 1, "allow"],
    ]


def test_importing_os_path_asks_for_os_as_well() -> None:
    rules = [rule("os.path", "allow")]
    found = check("import os.path", rules, "refuse", "full")
    assert [row[:3] for row in found.imports] == [["os", 1, "refuse"], ["os.path", 1, "allow"]]
    assert check("from os.path import join", rules, "refuse", "full").refusals == []


def test_relative_imports_are_told_and_allowed() -> None:
    assert imports_of("from . import a\nfrom ..b import c", default="refuse") == [
        [".", 1, "allow", "relative"],
        ["..b", 2, "allow", "relative"],
    ]


def test_a_module_of_the_workspace_is_allowed_where_only_the_default_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_to_check.py").write_text("raise AssertionError('it ran')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.path_importer_cache.pop(str(tmp_path), None)
    code = "import helper_to_check, os"
    found = check(code, [], "refuse", "full", origins=Origins([str(tmp_path)]))
    assert [row[:3] for row in found.imports] == [
        ["helper_to_check", 1, "allow"],
        ["os", 1, "refuse"],
    ]


def test_a_computed_name_is_not_guessed() -> None:
    assert imports_of("__import__('soc' + 'ket')\n__import__(name)\n__import__()") == []


# ---- language level ------------------------------------------------------------------------------


def test_the_restricted_level_lists_every_construct_that_it_refuses() -> None:
    code = "x.__dict__\nasync def f():\n    await g()\nimport inspect\nmatch x:\n    case 1: pass"
    assert [row[:2] for row in refusals_of(code)] == [
        [1, "Attribute"],
        [2, "AsyncFunctionDef"],
        [4, "import inspect"],
        [5, "Match"],
    ]
    assert refusals_of(code, "full") == []


def test_a_module_that_the_level_holds_back_names_the_level() -> None:
    found = check("import inspect", [rule("inspect", "allow")], "refuse", "restricted")
    assert found.imports == [["inspect", 1, "refuse", "restricted level: inspect"]]


def test_the_policy_holds_at_the_restricted_level_too() -> None:
    found = check("import socket", NO_NETWORK, "allow", "restricted")
    assert found.imports == [["socket", 1, "refuse", "socket*"]]


def test_checking_at_the_full_level_does_not_load_restricted_python() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for name in [name for name in sys.modules if "estricted" in name]:
                del sys.modules[name]
            check("import math", [], "allow", "full")
            loaded = any(name.startswith("RestrictedPython") for name in sys.modules)
            os.write(write, str(loaded).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as stream:
        assert stream.read() == b"False"
    os.waitpid(pid, 0)


# ---- what cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["full", "restricted"])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:\n    pass", "line 1: invalid syntax"),
        ("x = 1\nreturn x", "line 2: 'return' outside function"),
        ("x = '\n", "line 1: unterminated string literal (detected at line 1)"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(code: str, message: str, language: Language) -> None:
    assert check(code, [], "allow", language) == Findings([], [], message, [])


@pytest.mark.parametrize(
    "code", ["a\0b", "\ud800", "(" * 5000, "-" * 100_000 + "1", "x" + ".y" * 100_000]
)
@pytest.mark.parametrize("language", ["full", "restricted"])
def test_a_source_that_no_compiler_takes_is_told_and_harms_nothing(
    code: str, language: Language
) -> None:
    found = check(code, [], "allow", language)
    assert (found.imports, found.refusals) == ([], [])
    assert found.syntax_error != ""


def test_nothing_of_the_code_runs(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    code = f"open({str(witness)!r}, 'w')\n@open({str(witness)!r}, 'w')\nclass A: pass"
    assert check(code, [], "allow", "full") == Findings([], [], "", [])
    assert not witness.exists()


# ---- bounds --------------------------------------------------------------------------------------


def travels(found: Findings) -> bool:
    """Whether the host takes `found` as a message."""
    message = Checked("n", found.imports, found.refusals, found.syntax_error, found.findings)
    frames = FrameReader(1 << 26).feed(pack(message))
    return unpack("from_guest", frames[0]) == message


@pytest.mark.slow
def test_rows_are_bounded_in_number_and_length() -> None:
    code = "\n".join(f"import m{number}; x._y" for number in range(ROWS_CAP + 50))
    long = "import " + "a" * (NAME_CAP + 50) + "\n"
    found = check(long + code, [], "refuse", "restricted")
    assert (len(found.imports), len(found.refusals)) == (ROWS_CAP, ROWS_CAP)
    assert found.imports[0][0] == "a" * NAME_CAP
    assert travels(found)


fragments = st.sampled_from(
    ["import os", "from socket import x", "x._y", "await x", "def f(): pass", "(", "\0", "é", "'"]
)


@given(st.lists(fragments, max_size=5).map("\n".join) | st.text(max_size=30),
       st.sampled_from(["full", "restricted"]))  # fmt: skip
def test_whatever_the_code_is_the_findings_travel(code: str, language: Language) -> None:
    assert travels(check(code, NO_NETWORK, "refuse", language))
