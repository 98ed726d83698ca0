"""What tests in jails share: a sandbox and a session per tier, and proof that nothing is left.

After each test here the host process has the descriptors, child processes, mounts, control
groups and temporary files that it had before. Sandboxes that a whole module uses are brought to
rest first, with their warm workers there: what they hold is part of both counts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Policy, Sandbox, Session, probe
from sandbox.loop_thread import loop_thread
from sandbox.processes import cgroup, directories
from tests.jail import bait
from tests.jail.corpus import TIERS, Tier
from tests.jail.traces import bring_to_rest, traces

PREFIX = "cellblock-tests-"
CLEARED_WITHIN_S = 3.0
LOOKS_EVERY_S = 0.01


# ---- sandboxes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=TIERS)
def tier(request: pytest.FixtureRequest) -> Tier:
    """Each jailed tier; skipped with the remedy where it is not possible."""
    wanted: Tier = request.param
    for missing in probe().missing_for(wanted):
        pytest.skip(f"{missing.layer}: {missing.seen}. {missing.remedy}")
    return wanted


@pytest.fixture(scope="module")
def box(tier: Tier) -> Iterator[Sandbox]:
    """A sandbox of the tier, for all tests of a module."""
    with Sandbox(Policy(tier=tier), pool_size=1) as opened:
        yield opened


@pytest.fixture
def session(box: Sandbox) -> Iterator[Session]:
    """A session of its own for each test."""
    with box.session() as opened:
        yield opened


@pytest.fixture
def decoy() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that nothing may touch."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "a guest ended a process of the host"
        process.kill()


# ---- what is left -------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def own_temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories of this run's sandboxes, apart from those of other programs."""
    tmp_path_factory.getbasetemp()  # Its own are made beside it, not in it.
    for prefix in (PREFIX, *bait.PREFIXES):
        directories.sweep(prefix)  # Left by runs that were killed.
    own = directories.OwnDirectory(PREFIX)  # Sessions of the tier landlock have theirs in it.
    before, tempfile.tempdir = tempfile.tempdir, own.path
    yield Path(own.path)
    tempfile.tempdir = before
    assert os.listdir(own.path) == []
    own.remove()


@pytest.fixture(scope="session")
def group_parents() -> tuple[str, ...]:
    """Where sandboxes of this process make cgroups."""
    found = cgroup.find()
    return tuple(found.parents.values()) if found is not None else ()


@pytest.fixture(autouse=True)
def nothing_is_left(
    own_temporary_directory: Path, group_parents: tuple[str, ...]
) -> Iterator[None]:
    """Fail a test after which this process holds more than before."""
    loop_thread()  # Made once and kept.
    bring_to_rest()
    before = traces(own_temporary_directory, group_parents)
    yield
    deadline = time.monotonic() + CLEARED_WITHIN_S
    while True:
        bring_to_rest()
        left = traces(own_temporary_directory, group_parents).beyond(before)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(LOOKS_EVERY_S)
    assert not left, f"the test left behind: {left}"
