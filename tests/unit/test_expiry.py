"""Timers of a session: frozen while idle, expired at its deadline, its files kept a while."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from sandbox import PolicyError
from sandbox.session.expiry import FREEZE_AFTER_S, Expiry


class Clock:
    """Stands in for an event loop: timers run when the test moves the time on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "Timer":
        self.timers.append(Timer(self.now + delay_s, callback))
        return self.timers[-1]

    def pass_s(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = timer.at
            if not timer.is_cancelled:
                timer.callback()
        self.now = end


class Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Life:
    """A lifetime on a clock, and what it called."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, ttl_s: float | None, retention_s: float = 60.0
    ) -> None:
        self.clock = Clock()
        loop = cast(asyncio.AbstractEventLoop, self.clock)
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
        monkeypatch.setattr(time, "time", lambda: self.clock.now)
        self.calls: list[str] = []
        self.time = Expiry(
            ttl_s=ttl_s,
            retention_s=retention_s,
            freeze=lambda: self.calls.append("freeze"),
            thaw=lambda: self.calls.append("thaw"),
            expire=self._expire,
            forget=lambda: self.calls.append("forget"),
        )
        self.time.begin()

    def _expire(self) -> None:
        self.calls.append("expire")
        self.time.retain()


def test_an_idle_session_is_frozen_once_and_thawed_for_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life = Life(monkeypatch, None)
    life.clock.pass_s(FREEZE_AFTER_S * 0.9)
    assert life.calls == []
    life.clock.pass_s(FREEZE_AFTER_S * 5)
    assert life.calls == ["freeze"]
    life.time.work()
    life.time.work()
    assert life.calls == ["freeze", "thaw"]


def test_work_is_never_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, None)
    life.time.work()
    life.clock.pass_s(FREEZE_AFTER_S * 9)
    assert life.calls == []
    life.time.rest()
    life.clock.pass_s(FREEZE_AFTER_S)
    assert life.calls == ["freeze"]


def test_a_session_without_a_deadline_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, None)
    life.clock.pass_s(1e9)
    assert life.calls == ["freeze"]
    assert life.time.expires_at is None


def test_a_session_expires_at_its_deadline_and_its_files_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    life = Life(monkeypatch, 10.0, retention_s=60.0)
    assert life.time.expires_at == 10.0
    life.clock.pass_s(9.9)
    assert life.calls == ["freeze"]
    life.clock.pass_s(0.2)
    assert life.calls == ["freeze", "expire"]
    life.clock.pass_s(59.0)
    assert life.calls == ["freeze", "expire"]
    life.clock.pass_s(1.0)
    assert life.calls == ["freeze", "expire", "forget"]


def test_a_longer_life_counts_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, 10.0)
    life.clock.pass_s(8.0)
    life.time.extend(10.0)
    assert life.time.expires_at == 18.0
    life.clock.pass_s(9.9)
    assert "expire" not in life.calls
    life.clock.pass_s(0.1)
    assert life.calls[-1] == "expire"


def test_a_deadline_waits_for_the_end_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, 10.0)
    life.time.work()
    life.clock.pass_s(20.0)
    assert life.calls == []
    life.time.rest()
    assert life.calls == ["expire"]


def test_a_longer_life_saves_a_session_that_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, 10.0)
    life.time.work()
    life.clock.pass_s(20.0)
    life.time.extend(5.0)
    life.time.rest()
    assert life.calls == []
    life.clock.pass_s(5.0)
    assert life.calls == ["freeze", "expire"]


def test_nothing_happens_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(monkeypatch, 10.0)
    life.time.end()
    life.clock.pass_s(1e6)
    assert life.calls == []


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_times_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    with pytest.raises(PolicyError, match="ttl_s"):
        Life(monkeypatch, seconds)
    with pytest.raises(PolicyError, match="retention_s"):
        Life(monkeypatch, 1.0, retention_s=seconds)
    with pytest.raises(PolicyError, match="ttl_s"):
        Life(monkeypatch, 1.0).time.extend(seconds)


def test_a_brief_session_is_not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    calls: list[str] = []
    loop = cast(asyncio.AbstractEventLoop, clock)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    brief = Expiry(
        ttl_s=None,
        retention_s=60.0,
        freeze=lambda: calls.append("freeze"),
        thaw=lambda: calls.append("thaw"),
        expire=lambda: None,
        forget=lambda: None,
        freezes=False,
    )
    brief.begin()
    brief.work()
    brief.rest()
    clock.pass_s(10 * FREEZE_AFTER_S)
    assert calls == []
    assert clock.timers == []
