"""Byte code that the engine keeps for environments that have none: who writes it, who reads it.

What counts is how many sources a session compiles, not how long it takes.
"""

import os
import sysconfig
import time
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox import Policy, Sandbox
from sandbox.packages.byte_code import ByteCode, cache_directory
from sandbox.policy.environment import discover
from tests.jail.corpus import Tier

MADE_WITHIN_S = 120.0
LOOKS_EVERY_S = 0.05
MODULES = 5
COUNTED = """
from importlib.machinery import SourceFileLoader
compiled = []
compile_one = SourceFileLoader.source_to_code
def counted(self, data, path, **options):
    compiled.append(path)
    return compile_one(self, data, path, **options)
SourceFileLoader.source_to_code = counted
import heavy
SourceFileLoader.source_to_code = compile_one
len(compiled), heavy.total
"""


class Made(NamedTuple):
    interpreter: str
    package: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An environment with a package of some modules, and no byte code."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    below = sysconfig.get_path("purelib", "venv", {"base": f"{home}/venv"})
    package = Path(below) / "heavy"
    package.mkdir()
    names = [f"part{number}" for number in range(MODULES - 1)]
    for number, name in enumerate(names):
        (package / f"{name}.py").write_text(f"VALUE = {number}\n")
    imports = "\n".join(f"from heavy import {name}" for name in names)
    total = " + ".join(f"{name}.VALUE" for name in names)
    (package / "__init__.py").write_text(f"{imports}\ntotal = {total}\n")
    return Made(f"{home}/venv/bin/python", package)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def kept(made: Made, cache: Path) -> ByteCode:
    """What was compiled for the environment, all of it."""
    byte_code = ByteCode(discover(made.interpreter))
    byte_code.prepare()
    assert byte_code.directory.startswith(f"{cache}/cellblock/byte-code/")
    byte_code.start()
    assert byte_code.wait(MADE_WITHIN_S)
    byte_code.stop()
    return byte_code


def seen(made: Made, tier: Tier, code: str = COUNTED) -> str | None:
    """What a fresh session in the environment echoes for `code`."""
    with Sandbox(Policy(environment=made.interpreter, tier=tier), pool_size=0) as box:
        outcome = box.run(code)
        assert outcome.status == "completed", outcome
        return outcome.text


def test_a_session_compiles_nothing_that_was_compiled_for_its_environment(
    made: Made, kept: ByteCode, tier: Tier
) -> None:
    assert seen(made, tier) == "(0, 6)"
    assert not list(made.package.rglob("*.pyc")), "the environment itself stays as it was"


def test_without_it_a_session_compiles_each_module(made: Made, cache: Path, tier: Tier) -> None:
    (cache / "cellblock").mkdir(mode=0o700)
    (cache / "cellblock" / "byte-code").write_text("in the way")
    assert seen(made, tier) == f"({MODULES}, 6)"


def test_a_source_that_was_changed_is_taken_as_it_is_now(
    made: Made, kept: ByteCode, tier: Tier
) -> None:
    part = made.package / "part0.py"
    before = part.read_text()
    part.write_text("VALUE = 1000\n")
    try:
        assert seen(made, tier) == "(1, 1006)"
    finally:
        part.write_text(before)


def test_no_snippet_writes_it(made: Made, kept: ByteCode, tier: Tier) -> None:
    tries = """
import importlib, os
from importlib.machinery import SourceFileLoader
asked = []
beside = SourceFileLoader.get_data
cells = {name: cell.cell_contents for name, cell in zip(
    beside.__code__.co_freevars, beside.__closure__)}
place = cells["directory"]
done = []
for name in ("new.pyc", "sub/new.pyc"):
    try:
        open(f"{place}/{name}", "wb").write(b"x")
        done.append(name)
    except OSError:
        pass
for root, _, names in os.walk(place):
    for name in names[:3]:
        for act in (os.unlink, lambda path: os.chmod(path, 0o777), lambda path: open(path, "ab")):
            try:
                act(os.path.join(root, name))
                done.append(name)
            except OSError:
                pass
os.path.isdir(place), done
"""
    assert seen(made, tier, tries) == "(True, [])"


def test_an_open_sandbox_has_it_made(made: Made, cache: Path, tier: Tier) -> None:
    with Sandbox(Policy(environment=made.interpreter, tier=tier), pool_size=0) as box:
        box.run("1")
        byte_code = ByteCode(discover(made.interpreter))
        byte_code.prepare()
        deadline = time.monotonic() + MADE_WITHIN_S
        while not byte_code.is_whole and time.monotonic() < deadline:
            time.sleep(LOOKS_EVERY_S)
        outcome = box.run(COUNTED)
    assert outcome.text == "(0, 6)"


@pytest.mark.parametrize("what", ["others may write", "a link", "a file"])
def test_a_place_that_is_not_the_users_alone_is_not_used(
    made: Made, cache: Path, what: str
) -> None:
    top = Path(cache_directory())
    top.parent.mkdir(parents=True, mode=0o700)
    if what == "a link":
        (cache / "elsewhere").mkdir(mode=0o700)
        top.symlink_to(cache / "elsewhere")
    elif what == "a file":
        top.write_text("")
    else:
        top.mkdir()
        top.chmod(0o777)
    byte_code = ByteCode(discover(made.interpreter))
    byte_code.prepare()
    assert byte_code.directory == ""
    byte_code.start()
    assert not byte_code.is_whole


def test_what_was_used_longest_ago_is_removed(made: Made, cache: Path) -> None:
    top = Path(cache_directory())
    top.mkdir(parents=True, mode=0o700)
    for number in range(12):
        (top / f"old{number:02}").mkdir(mode=0o700)
        (top / f"old{number:02}" / "files").mkdir()
        os.utime(top / f"old{number:02}", (number, number))
    byte_code = ByteCode(discover(made.interpreter))
    byte_code.prepare()
    left = sorted(path.name for path in top.iterdir())
    assert len(left) == 8
    assert left[-1] == "old11"
    assert "old04" not in left


def test_the_process_that_compiles_is_reaped_when_it_is_done(made: Made, cache: Path) -> None:
    byte_code = ByteCode(discover(made.interpreter))
    byte_code.prepare()
    before = children()
    byte_code.start()
    [started] = set(children()) - set(before)
    deadline = time.monotonic() + MADE_WITHIN_S
    while started in children() and time.monotonic() < deadline:
        time.sleep(LOOKS_EVERY_S)
    assert started not in children()
    assert byte_code.is_whole
    byte_code.stop()


def children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as stream:
        return stream.read().split()
