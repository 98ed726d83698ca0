"""A session is a fork of a process that loaded its libraries: what it has to be told about that."""

import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Policy, Sandbox, Session
from tests.jail.corpus import Tier

PACKAGE = """
import os
calls = []
os.register_at_fork(after_in_child=lambda: calls.append(os.getpid()))
"""


@pytest.fixture(scope="module")
def registered(tier: Tier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose environment has a package that wants to know of forks."""
    home = tmp_path_factory.mktemp("environment")
    home.chmod(0o755)
    venv.create(home, symlinks=True)
    places = {"base": str(home), "platbase": str(home)}
    library = Path(sysconfig.get_path("purelib", "posix_prefix", places))
    (library / "wants_to_know.py").write_text(PACKAGE)
    policy = Policy(tier=tier, environment=str(home / "bin" / "python"), preload=("wants_to_know",))
    with Sandbox(policy, pool_size=0) as opened:
        yield opened


def test_functions_of_preloaded_packages_are_called_once_in_each_session(
    registered: Sandbox,
) -> None:
    for _ in range(2):
        outcome = registered.run("import os, wants_to_know\nwants_to_know.calls == [os.getpid()]")
        assert outcome.text == "True"


def test_sessions_draw_different_numbers(box: Sandbox) -> None:
    drawn = {box.run("import random\nrandom.random()").text for _ in range(5)}
    assert len(drawn) == 5


def test_the_main_thread_knows_its_own_number(session: Session) -> None:
    session.run("import threading\nmain = threading.main_thread()")
    for _ in range(2):
        assert session.run("main.native_id == threading.get_native_id()").text == "True"
        session.run("import os\nos._exit(1)")


def test_nothing_of_the_watch_is_left(session: Session) -> None:
    assert session.run("import os\ntype(os.register_at_fork).__name__").text == (
        "'builtin_function_or_method'"
    )
