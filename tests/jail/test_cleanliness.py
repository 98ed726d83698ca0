"""Whichever process dies, nothing is left: no process, no cgroup, no file, no mount."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sandbox import LayerUnavailable, Policy, Sandbox, Session, SessionLost
from sandbox.processes import cgroup, supply
from tests.jail.corpus import Tier
from tests.jail.hosts import (
    below_zygotes,
    descendants,
    kill,
    live_host,
    wait_until,
    wait_until_gone,
)

BUSY_HOST = """
import json, sys
from sandbox import Limits, Policy, Sandbox
box = Sandbox(Policy(tier={tier!r}))
session = box.session()
session.run(
    "import os, time\\n"
    "if os.fork() == 0:\\n    os.setsid()\\n    if os.fork() == 0:\\n        time.sleep(600)\\n"
    "    os._exit(0)\\nopen('file', 'w').write('x')"
)
other = box.session()
print(json.dumps(box._box._supply.zygote.pid), flush=True)
{then}
"""
WAIT = "sys.stdin.read()"
RUN_ON = "other.run('while True: pass', limits=Limits(wall_s=600, cpu_s=600))"


def groups_of(pid: int) -> list[str]:
    """Cgroups that a host process has made and not removed."""
    found = cgroup.find()
    parents = found.parents.values() if found is not None else ()
    return [
        name
        for parent in parents
        for name in os.listdir(parent)
        if name.startswith(f"{cgroup.PREFIX}{pid}-")
    ]


@pytest.mark.parametrize("then", [WAIT, RUN_ON], ids=["idle", "running a snippet"])
def test_a_killed_host_leaves_nothing(tier: Tier, then: str, own_temporary_directory: Path) -> None:
    folder = own_temporary_directory / "host"
    folder.mkdir()
    folder.chmod(0o711)
    environment = {**os.environ, "TMPDIR": str(folder)}
    with live_host(BUSY_HOST.format(tier=tier, then=then), environment) as (host, _launcher):
        # Launcher, zygote, two sessions of two processes each, and what one of them left behind.
        wait_until(lambda: len(below_zygotes(host.pid)) >= 7, "the host's processes are not there")
        below = descendants(host.pid)
        host.kill()
        host.wait()
        wait_until_gone(below)
        wait_until(lambda: not groups_of(host.pid), "cgroups are left")
        wait_until(lambda: os.listdir(folder) == [], "directories are left")
    folder.rmdir()


def test_a_killed_launcher_leaves_no_process_of_the_full_tier() -> None:
    script = BUSY_HOST.format(tier="namespaces", then=WAIT)
    with live_host(script) as (host, launcher):
        assert isinstance(launcher, int)
        below = descendants(host.pid)
        kill(launcher)
        wait_until_gone(below)
        assert host.poll() is None


def test_what_a_killed_host_and_launcher_left_is_gone_after_the_next_start(
    own_temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_temporary_directory / "host"
    folder.mkdir()
    folder.chmod(0o711)
    script = BUSY_HOST.format(tier="landlock", then=WAIT)
    with live_host(script, {**os.environ, "TMPDIR": str(folder)}) as (host, launcher):
        assert isinstance(launcher, int)
        below = descendants(host.pid)
        # Stopped first: it could not clean up between the two.
        os.kill(launcher, signal.SIGSTOP)
        host.kill()
        kill(launcher)
        host.wait()
        wait_until_gone(below)
    assert len(os.listdir(folder)) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with Sandbox(pool_size=0) as box:
        assert box.run("6 * 7").text == "42"
    assert os.listdir(folder) == []
    assert not groups_of(host.pid)
    folder.rmdir()


def test_what_a_package_writes_while_it_is_preloaded_goes_with_the_zygote(
    own_temporary_directory: Path,
) -> None:
    before = os.listdir(own_temporary_directory)
    with Sandbox(Policy(tier="landlock", preload=("matplotlib.pyplot",)), pool_size=0) as box:
        asked = box.run("import matplotlib; print(matplotlib.get_configdir())")
        assert asked.stdout.startswith(f"{own_temporary_directory}/")
    assert os.listdir(own_temporary_directory) == before


def zygote_pid(box: Sandbox) -> int:
    assert box._box._supply.zygote is not None
    [zygote] = psutil.Process(box._box._supply.zygote.pid).children()
    return zygote.pid


def launcher_pid(box: Sandbox) -> int:
    assert box._box._supply.zygote is not None
    return box._box._supply.zygote.pid


@pytest.mark.parametrize("whom", [zygote_pid, launcher_pid], ids=["zygote", "launcher"])
def test_a_dead_zygote_is_replaced_and_its_sessions_say_that_they_are_lost(
    tier: Tier, whom: Callable[[Sandbox], int]
) -> None:
    with Sandbox(Policy(tier=tier), pool_size=1) as box, box.session() as session:
        session.run("x = 1")
        below = below_zygotes(os.getpid())
        kill(whom(box))
        wait_until(
            lambda: box._box._supply.zygote is not None and not box._box._supply.zygote.is_alive,
            "alive",
        )
        wait_until_gone(below)
        with pytest.raises(SessionLost):
            session.run("x")
        assert box.run("6 * 7").text == "42"
        with box.session() as fresh:
            assert fresh.run("'x' in globals()").text == "False"


def test_a_zygote_that_cannot_fork_loses_no_other_session() -> None:
    with Sandbox(pool_size=0) as box, box.session() as session:
        session.run("x = 1")
        zygote = psutil.Process(zygote_pid(box))
        before = zygote.rlimit(psutil.RLIMIT_NPROC)
        zygote.rlimit(psutil.RLIMIT_NPROC, (0, before[1]))
        with pytest.raises(LayerUnavailable, match="fork"):
            box.run("1")
        zygote.rlimit(psutil.RLIMIT_NPROC, before)
        assert box.run("6 * 7").text == "42"
        assert session.run("x").text == "1"


def test_a_session_whose_init_was_killed_says_that_it_is_lost(session: Session) -> None:
    session.run("x = 1")
    live = session._session._live
    assert live is not None
    worker = live.worker
    assert worker is not None
    init = worker.init.pid
    below = psutil.Process(init).children(recursive=True)
    kill(init)
    with pytest.raises(SessionLost):
        session.run("while True: pass")
    with pytest.raises(SessionLost):
        session.run("x")
    session.close()
    wait_until_gone(below)


def test_what_a_killed_init_leaves_ends_also_without_control_groups(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply, "_find_hierarchies", lambda: None)
    with (
        Sandbox(Policy(tier=tier), pool_size=0) as box,
        box.session() as session,
        box.session() as beside,
    ):
        beside.run("x = 1")
        session.run(
            "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n"
            "        os.setsid()\n        if os.fork() == 0: time.sleep(600)\n"
            "        time.sleep(600)"
        )
        live = session._session._live
        assert live is not None
        worker = live.worker
        assert worker is not None
        init = worker.init.pid
        wait_until(lambda: len(descendants(init)) >= 7, "the snippet's processes are not there")
        below = descendants(init)
        kill(init)
        wait_until_gone(below)
        assert beside.run("x").text == "1"


def test_a_warm_worker_that_died_is_not_handed_out(box: Sandbox) -> None:
    box.run("1")
    box.__enter__()
    assert box._box._supply.pool is not None
    worker = box._box._supply.pool._ready[0]
    assert worker.init.pid
    [process] = psutil.Process(worker.init.pid).children()
    process.kill()
    wait_until(lambda: not worker.is_live, "the pool did not notice")
    assert box.run("6 * 7").text == "42"


def test_many_sessions_leave_no_descriptor_process_or_mount(box: Sandbox) -> None:
    for number in range(10):
        with box.session() as session:
            session.run(f"x = {number}\nopen('a', 'w').write('a')")
            if number % 2:
                session.checkpoint()
                session.run("import os\nos._exit(1)")


def test_close_ends_processes_that_a_session_hid(tier: Tier) -> None:
    with Sandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        before = set(descendants(os.getpid()))
        session.run(
            "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        os.setsid()\n"
            "        if os.fork() == 0: time.sleep(600)\n        os._exit(0)"
        )
        hidden = [process for process in descendants(os.getpid()) if process not in before]
        assert len(hidden) >= 3
        session.close()
        wait_until_gone(hidden)
        assert box.run("1").text == "1"
