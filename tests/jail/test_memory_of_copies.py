"""What copies of a session hold is not the snippet's: it has the memory that it was promised."""

import pytest

from sandbox import Limits, Session
from sandbox.outcome import LimitExceeded

MiB = 1024 * 1024
LIMITS = Limits(memory_bytes=160 * MiB, wall_s=60)
HOLD = "data = bytearray(100 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1"
CHANGE = "for i in range(0, len(data), 4096): data[i] += 1\ndata[0], data[-4096]"
pytestmark = pytest.mark.slow


def test_what_fits_can_be_changed_in_place(session: Session) -> None:
    session.run(HOLD, limits=LIMITS)
    outcome = session.run(CHANGE, limits=LIMITS)
    assert (outcome.status, outcome.text, outcome.survives) == ("completed", "(2, 2)", True)
    assert outcome.usage.peak_memory_bytes <= 160 * MiB
    if "cgroup" in session.enforcement:
        assert 80 * MiB < outcome.usage.copies_memory_bytes < 120 * MiB


def test_a_snippet_that_changed_all_is_still_undone(session: Session) -> None:
    session.run(HOLD, limits=LIMITS)
    killed = session.run(CHANGE + "\nimport os\nos._exit(1)", limits=LIMITS)
    assert (killed.status, killed.state, killed.survives) == ("died", "rolled_back", True)
    assert session.run("data[0], data[-4096]", limits=LIMITS).text == "(1, 1)"


def test_checkpoints_take_nothing_from_it_either(session: Session) -> None:
    session.run(HOLD, limits=LIMITS)
    mark = session.checkpoint()
    assert session.run(CHANGE, limits=LIMITS).text == "(2, 2)"
    assert session.run(CHANGE, limits=LIMITS).text == "(3, 3)"
    session.rollback(mark)
    assert session.run(CHANGE, limits=LIMITS).text == "(2, 2)"


@pytest.mark.parametrize("before", ["", CHANGE + "\n"])
def test_no_snippet_gets_more_for_it(session: Session, before: str) -> None:
    session.run(HOLD, limits=LIMITS)
    more = f"{before}more = bytearray(90 << 20)\nfor i in range(0, len(more), 4096): more[i] = 1"
    outcome = session.run(f"{more}\nimport time\ntime.sleep(30)", limits=LIMITS)
    assert isinstance(outcome, LimitExceeded)
    assert (outcome.limit, outcome.state) == ("memory_bytes", "rolled_back")
    assert 160 * MiB <= outcome.observed < 320 * MiB
    assert session.run("data[0], data[-4096]", limits=LIMITS).text == "(1, 1)"
