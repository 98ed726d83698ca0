"""Sessions freeze while idle, expire when their time is over, and take files back if asked to."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import psutil
import pytest

from sandbox import (
    AsyncSandbox,
    AsyncSession,
    FileRefused,
    Policy,
    PolicyError,
    Sandbox,
    SessionClosed,
    SessionError,
    SessionExpired,
)
from sandbox.files.file_snapshots import FileSnapshots, Snapshot
from sandbox.session import expiry
from tests.jail.corpus import Tier

SOON_S = 5.0


@pytest.fixture
async def box(tier: Tier) -> AsyncIterator[AsyncSandbox]:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as opened:
        yield opened


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not met():
            await asyncio.sleep(0.002)


def is_stopped(session: AsyncSession) -> bool:
    """Whether every process that init has is stopped, those of branches not counted."""
    assert session._live is not None
    worker = session._live.worker
    others = worker._branch_pids()
    own = [one for one in psutil.Process(worker.init.pid).children() if one.pid not in others]
    return bool(own) and all(one.status() == psutil.STATUS_STOPPED for one in own)


# ---- frozen -------------------------------------------------------------------------------------


@pytest.fixture
def freezes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "FREEZE_AFTER_S", 0.02)


@pytest.mark.usefixtures("freezes_soon")
async def test_an_idle_session_is_stopped_and_goes_on_when_it_is_used(box: AsyncSandbox) -> None:
    async with box.session() as session:
        await session.run(
            "import threading, time\nticks = 0\ndef tick():\n  global ticks\n"
            "  while True: ticks += 1; time.sleep(0.001)\n"
            "threading.Thread(target=tick, daemon=True).start()"
        )
        for _ in range(2):
            await until(lambda: is_stopped(session))
            assert (await session.run("before = ticks; time.sleep(0.05); ticks > before")).text == (
                "True"
            )


@pytest.mark.usefixtures("freezes_soon")
async def test_checkpoints_and_files_of_a_frozen_session_work(box: AsyncSandbox) -> None:
    async with box.session() as session:
        await session.run("x = 1")
        await until(lambda: is_stopped(session))
        mark = await session.checkpoint()
        await session.run("x = 2")
        await until(lambda: is_stopped(session))
        await session.put("a.txt", "a")
        assert await session.get("a.txt") == b"a"
        await session.rollback(mark)
        assert (await session.run("x, open('a.txt').read()")).text == "(1, 'a')"


@pytest.mark.usefixtures("freezes_soon")
async def test_a_frozen_session_can_be_ended(box: AsyncSandbox) -> None:
    session = await box.session()
    await session.run("x = 1")
    await until(lambda: is_stopped(session))
    began = time.monotonic()
    await session.close()
    assert time.monotonic() - began < 2.0


@pytest.mark.usefixtures("freezes_soon")
async def test_a_frozen_origin_and_its_branches_wake_each_by_itself() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        async with await session.fork() as branch:
            await until(lambda: is_stopped(session) and is_stopped(branch))
            assert (await branch.run("x")).text == "1"
            assert is_stopped(session)
            assert (await session.run("x")).text == "1"


# ---- expired ------------------------------------------------------------------------------------


async def test_a_session_expires_and_says_when_and_why(box: AsyncSandbox) -> None:
    async with box.session(ttl_s=0.05) as session:
        assert session.expires_at == pytest.approx(time.time(), abs=2.0)
        await until(lambda: not session.is_live)
        for _ in range(2):
            with pytest.raises(SessionExpired, match=r"time to live.* over"):
                await session.run("1")
        with pytest.raises(SessionExpired):
            await session.checkpoint()
        with pytest.raises(SessionExpired):
            await session.put("a.txt", "a")
        with pytest.raises(SessionExpired):
            await session.extend(10)


async def test_the_place_of_an_expired_session_is_free_again(tier: Tier) -> None:
    one_place = AsyncSandbox(Policy(tier=tier), pool_size=0, max_sessions=1)
    async with one_place as box, box.session(ttl_s=0.05):
        second = await asyncio.wait_for(box.session().__aenter__(), SOON_S)
        assert (await second.run("1")).text == "1"
        await second.close()


async def test_a_deadline_can_be_put_off(box: AsyncSandbox) -> None:
    async with box.session(ttl_s=30) as session:
        first = session.expires_at
        await session.extend(60)
        assert first is not None
        assert session.expires_at == pytest.approx(first + 30, abs=5.0)
        await session.extend(0.05)
        await until(lambda: not session.is_live)
        with pytest.raises(SessionExpired):
            await session.run("1")


async def test_a_snippet_under_way_is_not_cut_short(box: AsyncSandbox) -> None:
    async with box.session(ttl_s=0.1) as session:
        outcome = await session.run("import time; time.sleep(0.4); 'whole'")
        assert outcome.text == "'whole'"
        with pytest.raises(SessionExpired):
            await session.run("1")


async def test_files_of_an_expired_session_can_be_fetched_for_a_while() -> None:
    # In the other tier the files lie in a directory that goes with the session's processes.
    box = AsyncSandbox(Policy(tier="namespaces"), pool_size=0)
    async with box, box.session(ttl_s=0.1, retention_s=0.5) as session:
        await session.put("a.txt", "kept")
        await until(lambda: not session.is_live)
        assert await session.files() == ["a.txt"]
        assert await session.get("a.txt") == b"kept"
        await until(lambda: session._live is not None and not session._live.files.is_open)
        with pytest.raises(SessionError):
            await session.get("a.txt")


async def test_a_closed_session_keeps_no_files(box: AsyncSandbox) -> None:
    session = await box.session(ttl_s=30)
    await session.put("a.txt", "a")
    await session.close()
    with pytest.raises(SessionClosed):
        await session.get("a.txt")


async def test_branches_live_on_when_their_origin_expires() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        async with await session.fork() as branch:
            assert branch.expires_at is None
            await session.extend(0)
            await until(lambda: not session.is_live)
            assert (await branch.run("x")).text == "1"


@pytest.mark.parametrize("name", ["ttl_s", "retention_s"])
def test_times_that_cannot_be_are_refused(name: str) -> None:
    ttl_s, retention_s = (-1.0, 1.0) if name == "ttl_s" else (1.0, -1.0)
    with Sandbox(pool_size=0) as box, pytest.raises(PolicyError, match=name):
        box.session(ttl_s=ttl_s, retention_s=retention_s)


# ---- files that roll back -----------------------------------------------------------------------


@pytest.fixture
async def undoing(tier: Tier) -> AsyncIterator[AsyncSession]:
    policy = Policy(tier=tier, files="rollback")
    async with AsyncSandbox(policy, pool_size=0) as box, box.session() as session:
        yield session


async def test_files_go_back_with_the_variables_after_a_death(undoing: AsyncSession) -> None:
    await undoing.run("open('a.txt', 'w').write('a'); open('b.txt', 'w').write('b')")
    outcome = await undoing.run(
        "import os\nopen('a.txt', 'w').write('changed'); os.remove('b.txt')\n"
        "open('made.txt', 'w').write('m')\nos._exit(1)"
    )
    assert outcome.state == "rolled_back"
    assert outcome.artifacts == ()
    assert await undoing.files() == ["a.txt", "b.txt"]
    assert (await undoing.get("a.txt"), await undoing.get("b.txt")) == (b"a", b"b")


async def test_files_go_back_to_those_of_a_checkpoint(undoing: AsyncSession) -> None:
    await undoing.put("a.txt", "one")
    mark = await undoing.checkpoint()
    await undoing.put("a.txt", "two")
    await undoing.run("open('b.txt', 'w').write('b')")
    await undoing.rollback(mark)
    assert await undoing.files() == ["a.txt"]
    assert await undoing.get("a.txt") == b"one"
    await undoing.run("open('a.txt', 'w').write('three')")
    await undoing.rollback(mark)
    assert await undoing.get("a.txt") == b"one"


async def test_a_try_that_raised_takes_its_files_along(undoing: AsyncSession) -> None:
    outcome = await undoing.try_run("open('a.txt', 'w').write('a')\n1 / 0")
    assert outcome.state == "rolled_back"
    assert await undoing.files() == []
    await undoing.try_run("open('a.txt', 'w').write('a')")
    assert await undoing.files() == ["a.txt"]


async def test_what_a_snippet_that_ran_to_its_end_wrote_stays(undoing: AsyncSession) -> None:
    outcome = await undoing.run("open('a.txt', 'w').write('a')\n1 / 0")
    assert outcome.state == "kept"
    assert [artifact.path for artifact in outcome.artifacts] == ["a.txt"]
    assert await undoing.files() == ["a.txt"]
    with pytest.raises(FileRefused):
        await undoing.get("b.txt")


async def test_a_branch_takes_back_its_own_files_only() -> None:
    box = AsyncSandbox(Policy(files="rollback"), pool_size=0)
    async with box, box.session() as session:
        await session.put("a.txt", "origin")
        async with await session.fork() as branch:
            await branch.run("open('a.txt', 'w').write('x')\nimport os; os._exit(1)")
            assert await branch.get("a.txt") == b"origin"
            await session.put("a.txt", "later")
            await branch.run("open('a.txt', 'w').write('x')\nimport os; os._exit(1)")
            assert await branch.get("a.txt") == b"origin"
            assert await session.get("a.txt") == b"later"


@pytest.mark.parametrize("what", ["run", "checkpoint", "rollback"])
async def test_a_close_while_files_are_copied_ends_what_waits_for_them(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The copying goes on in a thread, on descriptors that the close must leave to it."""
    has_begun, may_go_on = threading.Event(), threading.Event()
    async with AsyncSandbox(Policy(files="rollback"), pool_size=0) as box:
        session = await box.session()
        await session.run("open('a', 'w').write('before')")
        mark = await session.checkpoint()
        name = "restore" if what == "rollback" else "take"
        copy = getattr(FileSnapshots, name)

        def copy_slowly(self: FileSnapshots, *arguments: Snapshot) -> object:
            has_begun.set()
            assert may_go_on.wait(10)
            return copy(self, *arguments)

        monkeypatch.setattr(FileSnapshots, name, copy_slowly)
        calls = {
            "run": lambda: session.run("1"),
            "checkpoint": lambda: session.checkpoint(),
            "rollback": lambda: session.rollback(mark),
        }
        doing = asyncio.ensure_future(calls[what]())
        await asyncio.to_thread(has_begun.wait, 10)
        closing = asyncio.ensure_future(session.close())
        await asyncio.sleep(0)
        may_go_on.set()
        async with asyncio.timeout(8):
            await closing
            with pytest.raises(SessionClosed):
                await doing
        with pytest.raises(SessionClosed):
            await session.run("1")
