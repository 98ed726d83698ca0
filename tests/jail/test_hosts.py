"""The engine serves every kind of host: plain user, threads, event loops, forks, xdist workers."""

import asyncio
import json
import os
import shutil
import site
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import Policy, Sandbox, Session, StaleProcess
from tests.jail.corpus import Tier
from tests.jail.hosts import ROOT, descendants, live_host, run_host, wait_until_gone

PLAIN_USER = 61_234
SYSTEM_PYTHON = "/usr/bin/python3"
NEEDED = (
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions.py",
    "h11",
    "psutil",
    "typing_inspection",
    "RestrictedPython",
)


@pytest.fixture(scope="module")
def readable(own_temporary_directory: Path) -> Iterator[Path]:
    """The engine and what it needs, where every user can read them."""
    folder = own_temporary_directory / "readable"
    folder.mkdir()
    folder.chmod(0o755)
    packages = [Path(entry) for entry in (*site.getsitepackages(), *sys.path) if entry]
    for name in NEEDED:
        source = next(base / name for base in packages if (base / name).exists())
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    shutil.copytree(ROOT / "sandbox", folder / "sandbox")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def as_user() -> tuple[str, ...]:
    """What stands before a command to run it as a plain user."""
    if os.geteuid() != 0:
        return ()
    user = str(PLAIN_USER)
    return ("setpriv", "--reuid", user, "--regid", user, "--clear-groups")


USER_SCRIPT = """
import json, os
from sandbox import Limits, Policy, Sandbox
with Sandbox(Policy(tier={tier!r}, limits=Limits(grace_s=0.1))) as box, box.session() as session:
    first = session.run("import os\\nx = 1\\nos.getuid()")
    killed = session.run("x = 2\\nos._exit(1)")
    slow = session.run("while True: pass", limits=Limits(wall_s=0.2))
    session.put("a.txt", "put")
    after = session.run("x, open('a.txt').read()")
    hidden = session.run("open('/proc/1/environ', 'rb').read()")
    mark = session.checkpoint()
    session.run("x = 5")
    session.rollback(mark)
    back = session.run("x")
    known = [state.checkpoint == mark for state in session.checkpoints()]
    print(json.dumps([os.getuid(), first.text, killed.state, slow.status, after.text,
                      hidden.status, back.text, known, list(session.get("a.txt"))]))
"""


def test_a_plain_user_has_every_feature_in_both_tiers(
    tier: Tier, readable: Path, as_user: tuple[str, ...]
) -> None:
    uid = PLAIN_USER if as_user else os.geteuid()
    seen = 1000 if tier == "namespaces" else uid
    assert run_host(
        USER_SCRIPT.format(tier=tier),
        interpreter=SYSTEM_PYTHON,
        path=str(readable),
        wrapper=as_user,
    ) == [
        uid,
        str(seen),
        "rolled_back",
        "limit_exceeded",
        "(1, 'put')",
        "raised",
        "1",
        [True],
        list(b"put"),
    ]


USER_BRANCHES = """
import json, os
from sandbox import Limits, Policy, Sandbox
limits = Limits(grace_s=0.1, memory_bytes=192 << 20, processes=40)
LOOK = '''
def reached():
    found = 0
    for pid in range(1, 99):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        found += 1
    return found
'''
with Sandbox(Policy(limits=limits)) as box, box.session() as session:
    session.put("a.txt", "put")
    session.run("import os, signal; x = [1]" + LOOK)
    alone = session.run("reached()").text
    one, other = session.fork(2)
    one.run("x.append(2); open('a.txt', 'w').write('one')")
    deeper = one.fork()
    branches = (one, other, deeper)
    said = [
        [each.run("x").text for each in branches],
        [bytes(each.get("a.txt")).decode() for each in (session, *branches)],
        [each.run("reached()").text == alone for each in (session, *branches)],
        [session.run("os.kill(-1, signal.SIGKILL)\\nos._exit(1)").status],
        [each.run("os._exit(1)").state for each in branches],
        [each.run("x").text for each in branches],
        [other.run("big = b'x' * (300 << 20)").status != "completed", other.run("x").text],
        [other.best_of(["1 / 0", "x.append(9)"]).winner, other.run("x").text],
    ]
    for each in branches:
        each.close()
print(json.dumps([os.getuid(), *said]))
"""


def test_a_plain_users_branches_are_as_far_apart_as_roots(
    readable: Path, as_user: tuple[str, ...]
) -> None:
    assert run_host(
        USER_BRANCHES, interpreter=SYSTEM_PYTHON, path=str(readable), wrapper=as_user
    ) == [
        PLAIN_USER if as_user else os.geteuid(),
        ["[1, 2]", "[1]", "[1, 2]"],
        ["put", "one", "put", "one"],
        [True, True, True, True],
        ["died"],
        ["rolled_back", "rolled_back", "rolled_back"],
        ["[1, 2]", "[1]", "[1, 2]"],
        [True, "[1]"],
        [1, "[1, 9]"],
    ]


COPYING = """
import ctypes, errno, os, pathlib, shelve, shutil, sys, tempfile, zipfile
os.mkdir("tree")
pathlib.Path("tree/a.txt").write_text("a")
os.chmod("tree/a.txt", 0o640)
shutil.copytree("tree", "copy")
shutil.copy2("tree/a.txt", "b.txt")
pathlib.Path("b.txt").touch()
with zipfile.ZipFile("a.zip", "w") as archive:
    archive.write("tree/a.txt")
shutil.unpack_archive("a.zip", "unpacked")
with shelve.open("shelf") as shelf:
    shelf["a"] = 1
with tempfile.NamedTemporaryFile() as stream:
    os.fchmod(stream.fileno(), 0o600)
names = {name.partition(".db")[0] for name in os.listdir()}
print(sorted(names), open("unpacked/tree/a.txt").read())
for call in (
    lambda: os.chmod(os.__file__, 0o777),
    lambda: os.utime(sys.executable, (0, 0)),
    lambda: os.fchmod(os.open(os.__file__, os.O_RDONLY), 0o777),
    lambda: os.chmod("nowhere", 0o600),
):
    try: call()
    except OSError as error: print(errno.errorcode[error.errno], end=" ")
    else: print("passed", end=" ")
libc = ctypes.CDLL(None, use_errno=True)
before = os.stat("b.txt").st_mode
print(libc.chmod(b"b.txt", 0o777), errno.errorcode[ctypes.get_errno()])
os.chmod("b.txt", 0o777)
print(os.stat("b.txt").st_mode == before)
"""
COPYING_HOST = """
import json, sys
from sandbox import Policy, Sandbox
with Sandbox(Policy(tier="landlock"), pool_size=0) as box:
    outcome = box.run({code!r})
    print(json.dumps([outcome.status, outcome.stdout.splitlines(), outcome.stderr]))
"""


def test_files_are_copied_and_no_mode_is_set_where_a_session_has_its_users_id(
    readable: Path, as_user: tuple[str, ...]
) -> None:
    host = COPYING_HOST.format(code=COPYING)
    said = run_host(host, interpreter=SYSTEM_PYTHON, path=str(readable), wrapper=as_user)
    assert said == [
        "completed",
        [
            "['a.zip', 'b.txt', 'copy', 'shelf', 'tree', 'unpacked'] a",
            "EPERM EPERM EPERM ENOENT -1 EPERM",
            "True",
        ],
        "",
    ]


ROOTLESS_HOST = """
import json
from sandbox import Policy, Sandbox
with Sandbox(Policy(tier={tier!r}), pool_size=0) as box, box.session() as session:
    died = session.run("import os; os._exit(1)")
    session.put("a.txt", "put")
    read = session.run("open('a.txt').read()")
    hidden = session.run("open('/proc/1/environ', 'rb').read()")
    print(json.dumps([died.state, read.text, hidden.status]))
"""


def test_root_of_a_container_without_spare_ids_is_a_user_as_any_other(tier: Tier) -> None:
    said = run_host(ROOTLESS_HOST.format(tier=tier), wrapper=("unshare", "--map-root-user"))
    assert said == ["rolled_back", "'put'", "raised"]


RESTRICTED_HOST = """
import json
from sandbox import Policy, Sandbox
with Sandbox(Policy(tier={tier!r}, language="restricted"), pool_size=0) as box:
    print(json.dumps([box.run("6 * 7").text, box.run("exec('1')").status]))
"""


def test_the_restricted_level_needs_nothing_of_the_guests_own_packages(
    tier: Tier, readable: Path
) -> None:
    said = run_host(
        RESTRICTED_HOST.format(tier=tier), interpreter=SYSTEM_PYTHON, path=str(readable)
    )
    assert said == ["42", "refused"]


def test_threads_of_a_host_share_one_sandbox(box: Sandbox) -> None:
    texts: dict[int, str | None] = {}

    def use(number: int) -> None:
        with box.session() as session:
            session.run(f"x = {number}")
            texts[number] = session.run("x * x").text

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: str(number * number) for number in range(6)}


async def test_the_blocking_face_works_inside_a_running_loop(session: Session) -> None:
    assert session.run("6 * 7").text == "42"
    assert (await asyncio.to_thread(session.run, "1")).text == "1"


UVLOOP_HOST = """
import asyncio, json, uvloop
from sandbox import AsyncSandbox, Policy

async def use():
    async with AsyncSandbox(Policy(tier={tier!r}), pool_size=1) as box, box.session() as session:
        await session.run("x = 41")
        died = await session.run("import os; os._exit(1)")
        loop = type(asyncio.get_running_loop()).__module__
        return [loop, (await session.run("x + 1")).text, died.state, (await box.run("1")).text]

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    print(json.dumps(runner.run(use())))
"""


def test_uvloop_drives_the_engine(tier: Tier) -> None:
    assert run_host(UVLOOP_HOST.format(tier=tier)) == ["uvloop", "42", "rolled_back", "1"]


def test_workers_of_xdist_each_have_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_inside.py").write_text(
        "import pytest\nfrom sandbox import Sandbox\n\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_a_run(n):\n    with Sandbox(pool_size=0) as box:\n"
        "        assert box.run(f'{n} * 2').text == str(n * 2)\n"
    )
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


# ---- a host that forks --------------------------------------------------------------------------


def in_a_fork(work: Callable[[], object]) -> object:
    """What `work` gives in a forked child of this process, as JSON."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    assert said, "the child failed"
    result: object = json.loads(said)
    return result


def test_a_forked_child_is_told_that_the_sandbox_is_not_its_own(
    box: Sandbox, session: Session
) -> None:
    session.run("x = 1")

    def use_both() -> list[str]:
        told = []
        for call in (lambda: box.run("1"), lambda: session.run("x"), box.session):
            try:
                call()
            except StaleProcess as error:
                told.append(type(error).__name__)
        session.close()
        box.close()
        return told

    assert in_a_fork(use_both) == ["StaleProcess"] * 3
    assert session.run("x").text == "1"
    assert box.run("1").text == "1"


def test_a_forked_child_makes_a_sandbox_of_its_own(box: Sandbox, tier: Tier) -> None:
    assert box.run("1").text == "1"

    def make_one() -> str | None:
        with Sandbox(Policy(tier=tier), pool_size=0) as own, own.session() as session:
            session.run("x = 20")
            return session.run("x + 1").text

    assert in_a_fork(make_one) == "21"
    assert box.run("2").text == "2"


FORKING_HOST = """
import json, os, sys, time
from sandbox import Policy, Sandbox
box = Sandbox(Policy(tier={tier!r}))
session = box.session()
session.run("import os, time\\nif os.fork() == 0: time.sleep(600)")
child = os.fork()
if child == 0:
    time.sleep(600)
print(json.dumps(child), flush=True)
sys.stdin.read()
"""


def test_workers_end_with_their_host_although_a_fork_of_it_lives(tier: Tier) -> None:
    with live_host(FORKING_HOST.format(tier=tier)) as (host, child):
        assert isinstance(child, int)
        below = [process for process in descendants(host.pid) if process.pid != child]
        assert len(below) >= 4
        host.kill()
        host.wait()
        wait_until_gone(below)
        heir = psutil.Process(child)
        assert heir.is_running()
        heir.kill()
        wait_until_gone([heir])
