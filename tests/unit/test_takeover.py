"""What becomes of the standby of a snippet that was ended."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandbox.processes.worker import Worker
from sandbox.session.runs import takeover as module
from sandbox.session.runs.takeover import Takeover

STANDBY = 7


class Standby:
    """A copy that has said that it waits."""

    pid = STANDBY
    is_open = True

    def read_now(self) -> None:
        """Nothing more has come."""

    def close(self) -> None:
        self.is_open = False


async def _nothing() -> None:
    return


async def _never() -> None:
    raise TimeoutError


def ended(*, gone: set[int], exited: Any = _nothing) -> tuple[Takeover, Standby]:
    """The way back from a snippet that has ended; init has found the copies `gone` to be gone."""
    worker = SimpleNamespace(
        is_live=True,
        happen=lambda _event: None,
        kill=lambda: None,
        kill_snippet=lambda _spared: None,
        exited=exited,
        killed=_nothing,
        adopt=lambda _standby: None,
        kills=SimpleNamespace(gone_copies=gone),
    )
    found, standby = Takeover(cast(Worker, worker), spare=()), Standby()
    found._standby = cast(Any, standby)
    return found, standby


@pytest.mark.parametrize(("gone", "exited"), [({STANDBY}, _nothing), (set(), _never)])
async def test_a_standby_that_cannot_take_over_is_let_go(gone: set[int], exited: Any) -> None:
    takeover, standby = ended(gone=gone, exited=exited)
    assert await takeover.carry_out() == "lost"
    assert not standby.is_open


async def test_a_standby_that_takes_over_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKE_OVER_S", 5.0)
    takeover, standby = ended(gone=set())
    assert await takeover.carry_out() == "rolled_back"
    assert standby.is_open
