"""Branches of branches and siblings: their ends, their kills, their rollbacks."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from sandbox import (
    AsyncSandbox,
    BranchesTooDeep,
    CheckpointDropped,
    Limits,
    PoolFull,
    Sandbox,
    Session,
    SessionClosed,
)
from tests.jail.branching import text


def test_a_branch_of_a_branch_of_a_branch(session: Session) -> None:
    session.run("path = ['origin']")
    line = [session]
    for name in ("child", "grandchild", "great-grandchild"):
        line.append(line[-1].fork())
        line[-1].run(f"path.append({name!r}); open('path', 'w').write(name := {name!r})")
    for depth, one in enumerate(line):
        assert text(one.run("len(path)")) == str(depth + 1)
    assert text(line[3].run("path")) == "['origin', 'child', 'grandchild', 'great-grandchild']"
    line[1].close()
    assert text(line[2].run("path[-1], open('path').read()")) == "('grandchild', 'grandchild')"
    assert text(line[3].run("path[-1]")) == "'great-grandchild'"
    line[2].close()
    assert text(line[3].run("path[-1]")) == "'great-grandchild'"
    assert text(line[0].run("path")) == "['origin']"
    line[3].close()


async def test_a_line_of_branches_ends_with_an_error_that_says_how_deep_they_nest() -> None:
    async with AsyncSandbox(pool_size=0) as box, AsyncExitStack() as stack:
        line = [await stack.enter_async_context(box.session())]
        await line[0].run("x = 1")

        async def branch_on() -> None:
            while len(line) < 40:
                line.append(await stack.enter_async_context(await line[-1].fork()))

        with pytest.raises(BranchesTooDeep, match="nest 32 deep at most") as caught:
            await branch_on()
        assert caught.value.generation == len(line) - 1
        assert len(line) > 20
        # No session is worse off, and nearer to the first session there is room.
        for one in (line[0], line[-2], line[-1]):
            assert text(await one.run("x")) == "1"
        async with await line[-3].fork() as branch:
            assert text(await branch.run("x")) == "1"
        with pytest.raises(BranchesTooDeep):
            await line[-1].fork(2)
        assert text(await line[-1].run("x")) == "1"


def test_branches_outlive_their_origin(box: Sandbox) -> None:
    session = box.session()
    session.run("x = 1; import os")
    branch = session.fork()
    session.close()
    with pytest.raises(SessionClosed):
        session.run("x")
    assert text(branch.run("x")) == "1"
    assert branch.run("os._exit(1)").state == "rolled_back"
    assert text(branch.run("x")) == "1"
    with branch.fork() as second:
        assert text(second.run("x")) == "1"
    branch.close()


def test_an_origin_outlives_its_branches(session: Session) -> None:
    session.run("x = 1")
    for _ in range(3):
        branch = session.fork()
        branch.run("x = 2")
        branch.close()
        with pytest.raises(SessionClosed):
            branch.run("x")
    assert text(session.run("x")) == "1"
    assert session.run("os._exit(1)").state == "rolled_back"
    assert text(session.run("x")) == "1"


def test_branches_go_on_while_a_limit_kills_in_their_origin(session: Session) -> None:
    session.run("x = 1; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    branch = session.fork()
    killed = session.run("while True: pass", limits=Limits(wall_s=0.1, grace_s=0.05))
    assert (killed.status, killed.state) == ("limit_exceeded", "rolled_back")
    assert text(branch.run("x")) == "1"
    assert text(session.run("x")) == "1"
    branch.close()


async def test_a_kill_in_the_origin_leaves_a_running_branch_alone() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("import os, time; x = 1")
        async with await session.fork() as branch:
            running = asyncio.ensure_future(
                branch.run("for _ in range(300): time.sleep(0.001)\nx + 1")
            )
            for _ in range(3):
                assert (await session.run("os._exit(1)")).state == "rolled_back"
            assert text(await running) == "2"


async def test_branches_run_at_the_same_time() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("import time; met = []")
        branches = await session.fork(4)
        began = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(one.run("time.sleep(0.5)") for one in branches))
        assert [outcome.status for outcome in outcomes] == ["completed"] * 4
        assert asyncio.get_running_loop().time() - began < 1.9
        for one in branches:
            await one.close()


async def test_siblings_may_be_branched_at_the_same_time() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        branches = await session.fork(3)
        forked = await asyncio.gather(*(one.fork(2) for one in (session, *branches)))
        for group in forked:
            for one in group:
                assert text(await one.run("x")) == "1"
                await one.close()
        for one in branches:
            await one.close()


async def test_a_fork_that_no_caller_waits_for_leaves_nothing() -> None:
    async with AsyncSandbox(pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        for delay in (0, 0.001, 0.002, 0.005):
            task = asyncio.ensure_future(session.fork(8))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert text(await session.run("x")) == "1"
        assert box._supply.pool is not None
        assert box._supply.pool.live == 1


def test_a_branch_counts_as_a_session_of_the_sandbox() -> None:
    with Sandbox(pool_size=0, max_sessions=2, max_waiting=0) as box, box.session() as session:
        with session.fork(), pytest.raises(PoolFull):
            session.fork()
        with session.fork() as branch:
            assert text(branch.run("1")) == "1"


def test_survival_and_checkpoints_work_in_a_branch(session: Session) -> None:
    session.run("x = 1")
    with session.fork() as branch:
        assert branch.run("x = 5\nos._exit(1)").state == "rolled_back"
        mark = branch.checkpoint()
        branch.run("x = 2")
        branch.rollback(mark)
        assert text(branch.run("x")) == "1"
        branch.rollback(mark)
        assert branch.try_run("x = 3\n1 / 0").state == "rolled_back"
        assert text(branch.run("x")) == "1"
        session.run("x = 9")
        assert text(branch.run("x")) == "1"


def test_checkpoints_of_the_origin_stay_with_it(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    session.run("x = 2")
    with session.fork() as branch:
        assert branch.checkpoints() == []
        with pytest.raises(CheckpointDropped):
            branch.rollback(mark)
        session.rollback(mark)
        assert text(session.run("x")) == "1"
        assert text(branch.run("x")) == "2"


def test_a_session_that_was_rolled_back_or_killed_can_be_branched(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    session.run("x = 2\nos._exit(1)")
    session.rollback(mark)
    with session.fork() as branch:
        assert text(branch.run("x")) == "1"
