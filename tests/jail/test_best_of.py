"""The best of several candidates becomes the session; the others leave nothing behind."""

import threading

import pytest

from sandbox import CheckpointDropped, CopyRefused, Limits, PolicyError, Sandbox, Session
from sandbox.outcome import Completed, Outcome, Raised
from sandbox.processes.worker import Worker
from sandbox.session import expiry
from tests.jail.corpus import Tier


@pytest.fixture(scope="module")
def tier() -> Tier:
    """Branches need namespaces of their own."""
    return "namespaces"


def test_the_first_that_completed_wins_where_there_is_no_key(session: Session) -> None:
    session.run("x = 1")
    found = session.best_of(["x += 'a'", "x += 10", "x += 20"])
    assert found.winner == 1
    assert [outcome.status for outcome in found.outcomes] == ["raised", "completed", "completed"]
    assert session.run("x").text == "11"


def test_the_highest_key_wins_and_the_first_of_equals(session: Session) -> None:
    session.run("x = 0")

    def echoed(outcome: Outcome) -> float:
        assert isinstance(outcome, Completed)
        return float(outcome.text or 0)

    found = session.best_of(["x = 1; 3", "x = 2; 9", "x = 3; 9", "1 / 0"], key=echoed)
    assert found.winner == 1
    assert session.run("x").text == "2"


def test_if_none_completed_the_session_is_what_it_was(session: Session) -> None:
    session.run("x = 1")
    found = session.best_of(["x = 2\n1 / 0", "x = 3\nimport os; os._exit(1)"])
    assert found.winner is None
    assert [outcome.status for outcome in found.outcomes] == ["raised", "died"]
    assert session.run("x").text == "1"


def test_files_of_the_winner_are_those_of_the_session(session: Session) -> None:
    session.put("in.txt", "i")
    found = session.best_of(["1 / 0\n", "open('won.txt', 'w').write('w')"])
    assert [artifact.path for artifact in found.outcomes[1].artifacts] == ["won.txt"]
    assert session.files() == ["in.txt", "won.txt"]
    assert session.get("won.txt") == b"w"
    session.put("after.txt", "a")
    assert session.run("sorted(__import__('os').listdir('.'))").text == (
        "['after.txt', 'in.txt', 'won.txt']"
    )


def test_losers_hold_no_place_in_the_sandbox(box: Sandbox, session: Session) -> None:
    pool = box._box._supply.pool
    assert pool is not None
    live = pool.live
    for round_number in range(3):
        assert session.best_of([f"x = {round_number}"] * 3).winner == 0
        assert pool.live == live
    assert session.run("x").text == "2"


def test_a_winner_can_be_checkpointed_branched_and_won_again(session: Session) -> None:
    session.best_of(["x = 1", "x = 2"])
    mark = session.checkpoint()
    assert session.best_of(["x += 10"]).winner == 0
    assert session.run("x").text == "11"
    assert session.checkpoints() == []
    with pytest.raises(CheckpointDropped):
        session.rollback(mark)
    with session.fork() as branch:
        assert branch.run("x").text == "11"
    assert session.run("import os\nos._exit(1)").state == "rolled_back"
    assert session.run("x").text == "11"


def test_limits_hold_for_each_candidate(session: Session) -> None:
    found = session.best_of(
        ["while True: pass", "x = 'quick'"], limits=Limits(wall_s=0.5, grace_s=0.2)
    )
    assert found.winner == 1
    assert found.outcomes[0].status == "limit_exceeded"
    assert session.run("x").text == "'quick'"


def test_a_winner_that_had_to_wait_for_the_others_goes_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: dict[int, list[bool]] = {}
    pause = Worker.pause

    def note(worker: Worker, *, stopped: bool) -> None:
        orders.setdefault(worker.number, []).append(stopped)
        pause(worker, stopped=stopped)

    monkeypatch.setattr(Worker, "pause", note)
    monkeypatch.setattr(expiry, "FREEZE_AFTER_S", 0.3)
    found = session.best_of(["x = 'first'", "import time; time.sleep(0.8); 1 / 0"])
    assert found.winner == 0
    live = session._session._live
    assert live is not None
    winner = live.worker
    assert winner is not None
    assert orders[winner.number] == [True, False]
    assert session.run("x", limits=Limits(wall_s=10)).text == "'first'"


def test_a_candidate_cannot_end_the_others(session: Session) -> None:
    foul = "import os, time\nfor target in (0, -1):\n    os.kill(target, 19)\nos.kill(0, 9)"
    found = session.best_of(
        [foul, "import time\ntime.sleep(0.1)\nx = 2"], limits=Limits(wall_s=1, grace_s=0.2)
    )
    assert found.winner == 1
    assert session.run("x").text == "2"


def test_a_key_that_fails_leaves_the_session_as_it_was(session: Session) -> None:
    session.run("x = 1")

    def fail(_outcome: Outcome) -> float:
        raise LookupError("no score")

    with pytest.raises(LookupError, match="no score"):
        session.best_of(["x = 2"], key=fail)
    assert session.run("x").text == "1"


def test_no_candidate_is_refused(session: Session) -> None:
    with pytest.raises(PolicyError):
        session.best_of([])
    assert session.run("1").text == "1"


def test_a_session_that_cannot_be_branched_says_why(session: Session) -> None:
    session.run("import socket; s = socket.socket()")
    with pytest.raises(CopyRefused, match="open socket"):
        session.best_of(["1"])
    assert session.run("s.close()").status == "completed"
    assert session.best_of(["1"]).winner == 0


def test_the_key_is_called_on_the_thread_of_the_loop(session: Session) -> None:
    names: list[str] = []

    def note(_outcome: Outcome) -> float:
        names.append(threading.current_thread().name)
        return 0.0

    session.best_of(["1", "2"], key=note)
    assert names == ["cellblock", "cellblock"]


def test_a_try_that_raised_is_undone(session: Session) -> None:
    session.run("x = 1")
    undone = session.try_run("x = 2\n1 / 0")
    assert isinstance(undone, Raised)
    assert undone.state == "rolled_back"
    assert session.run("x").text == "1"
    assert session.try_run("x = 3").state == "kept"
    assert session.run("x").text == "3"
