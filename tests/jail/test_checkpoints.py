"""Checkpoints: back, further back, forward again, and never silently gone."""

import asyncio

import pytest

from sandbox import AsyncSandbox, CheckpointDropped, Policy, PolicyError, Sandbox, Session
from sandbox.errors import CopyRefused
from sandbox.session.checkpoints import Checkpoint
from tests.jail.corpus import Tier


def test_a_rollback_brings_variables_back_and_the_checkpoint_stays(session: Session) -> None:
    session.run("x, items = 1, [1]")
    mark = session.checkpoint("start")
    assert (mark.name, mark.snippet) == ("start", 1)
    for _ in range(2):
        session.run("x = 2; items.append(2); y = 3")
        session.rollback(mark)
        assert session.run("x, items, 'y' in globals()").text == "(1, [1], False)"


def test_back_to_an_older_one_and_forward_again(session: Session) -> None:
    marks = []
    for number in range(3):
        session.run(f"x = {number}")
        marks.append(session.checkpoint())
    for number in (0, 2, 1, 2, 0):
        session.rollback(marks[number])
        assert session.run("x").text == str(number)


def test_a_checkpoint_that_was_let_go_of_is_no_more_and_makes_no_other_go(session: Session) -> None:
    session.run("x = 1")
    first = session.checkpoint("first")
    session.run("x = 2")
    second = session.checkpoint("second")
    session.drop(first)
    session.drop(first)
    assert [one.checkpoint for one in session.checkpoints()] == [second]
    with pytest.raises(CheckpointDropped, match="let go"):
        session.rollback(first)
    session.run("x = 3")
    session.rollback(second)
    assert session.run("x").text == "2"


def test_a_rolled_back_session_survives_as_before(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    session.run("x = 2")
    session.rollback(mark)
    assert session.run("import os\nx = 9\nos._exit(1)").state == "rolled_back"
    outcome = session.run("x")
    assert (outcome.text, outcome.survives) == ("1", True)


def test_a_checkpoint_outlives_deaths_of_the_session_process(session: Session) -> None:
    session.run("x = 1")
    mark = session.checkpoint()
    for _ in range(3):
        session.run("x = 2")
        assert session.run("import os\nos._exit(1)").state == "rolled_back"
    session.rollback(mark)
    assert session.run("x").text == "1"


def test_a_rollback_ends_the_processes_that_were_started_since(session: Session) -> None:
    session.run("import os, time")
    mark = session.checkpoint()
    session.run(
        "if os.fork() == 0:\n    while True:\n        open('alive', 'w'); time.sleep(0.001)"
    )
    session.rollback(mark)
    session.run("[os.remove(name) for name in os.listdir('.')]; time.sleep(0.02)")
    assert session.files() == []


def test_files_stay_as_they_are(session: Session) -> None:
    mark = session.checkpoint()
    session.run("open('a.txt', 'w').write('a')")
    session.rollback(mark)
    assert session.files() == ["a.txt"]


def test_checkpoints_are_listed_with_the_memory_that_only_they_hold(session: Session) -> None:
    session.run("data = b'x' * (8 << 20)")
    first = session.checkpoint("full")
    session.run("del data")
    second = session.checkpoint("empty")
    states = session.checkpoints()
    assert [state.checkpoint for state in states] == [first, second]
    assert states[0].private_bytes >= 8 << 20
    assert states[1].private_bytes < 8 << 20


def test_the_oldest_is_dropped_first_and_says_so(box: Sandbox) -> None:
    with box.session(checkpoints=2) as session:
        marks = [session.checkpoint(f"mark {number}") for number in range(3)]
        assert [state.checkpoint for state in session.checkpoints()] == marks[1:]
        with pytest.raises(CheckpointDropped, match="more than 2 checkpoints") as dropped:
            session.rollback(marks[0])
        assert dropped.value.checkpoint == "mark 0"
        session.rollback(marks[1])
        assert session.run("1").text == "1"


def test_memory_of_checkpoints_is_bounded(box: Sandbox) -> None:
    with box.session(checkpoint_bytes=6 << 20) as session:
        session.run("data = b'x' * (8 << 20)")
        first = session.checkpoint()
        session.run("data = b'y' * (8 << 20)")
        second = session.checkpoint()
        session.run("del data")
        third = session.checkpoint()
        with pytest.raises(CheckpointDropped, match="bytes of memory"):
            session.rollback(first)
        assert third in [state.checkpoint for state in session.checkpoints()]
        assert second != third


def test_a_bound_that_cannot_be_is_refused(box: Sandbox) -> None:
    for number in (0, 17):
        with pytest.raises(PolicyError, match="checkpoints"):
            box.session(checkpoints=number)


def test_a_checkpoint_of_another_session_is_refused(box: Sandbox, session: Session) -> None:
    mark = session.checkpoint()
    with box.session() as other:
        with pytest.raises(CheckpointDropped, match="not of this session"):
            other.rollback(mark)
        assert other.run("1").text == "1"


def test_live_threads_and_children_refuse_a_checkpoint(session: Session) -> None:
    session.run(
        "import os, threading\nstop = threading.Event()\n"
        "t = threading.Thread(target=stop.wait); t.start()"
    )
    with pytest.raises(CopyRefused, match="live Python threads"):
        session.checkpoint()
    session.run("stop.set(); t.join()\nchild = os.fork()\nif not child: os._exit(0)")
    with pytest.raises(CopyRefused, match="a child process of its own"):
        session.checkpoint()
    session.run("os.waitpid(child, 0)")
    session.rollback(session.checkpoint())
    assert session.run("1").text == "1"


def test_a_try_keeps_what_completed_and_takes_back_what_did_not(session: Session) -> None:
    session.run("x = 1")
    assert session.try_run("x = 2").state == "kept"
    assert session.run("x").text == "2"
    failed = session.try_run("x = 3\n1 / 0")
    assert (failed.status, failed.state) == ("raised", "rolled_back")
    assert session.run("x").text == "2"
    assert session.checkpoints() == []


async def test_a_cancelled_call_leaves_the_session_as_it_was_and_no_checkpoint(
    tier: Tier,
) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        kept = [await session.checkpoint("kept")]
        for begun in range(6):
            for call in (session.checkpoint(), session.checkpoints(), session.check("1")):
                task = asyncio.ensure_future(call)
                for _ in range(begun):
                    await asyncio.sleep(0)
                task.cancel()
                [came] = await asyncio.gather(task, return_exceptions=True)
                if isinstance(came, Checkpoint):
                    kept.append(came)  # It was faster.
        assert [state.checkpoint for state in await session.checkpoints()] == kept
        assert (await session.run("x")).text == "1"


async def test_a_rollback_that_nobody_waits_for_any_more_is_carried_out(tier: Tier) -> None:
    async with AsyncSandbox(Policy(tier=tier), pool_size=0) as box, box.session() as session:
        await session.run("x = 1")
        mark = await session.checkpoint()
        for begun in range(2, 6):
            await session.run("x = 2")
            task = asyncio.ensure_future(session.rollback(mark))
            for _ in range(begun):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await session.run("x")).text == "1"
