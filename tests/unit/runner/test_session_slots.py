"""The ledger of sessions: every door counts, idle containers give way, others wait or go."""

import asyncio

import pytest

from runner.config import KeySettings
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live import session_slots
from runner.server.live.session_slots import SPARE_SESSIONS, SessionSlots, Slot


class FakeContainer:
    """A container with a session, without an engine."""

    def __init__(self, slots: SessionSlots, *, idle: bool, active_at: float = 0.0) -> None:
        self.slots, self.is_idle, self.active_at = slots, idle, active_at
        self.slot: Slot | None = None

    async def end(self) -> None:
        slot, self.slot = self.slot, None
        if slot is not None:
            self.slots.release(slot)


def account(sessions: int = 32, tenant: str = "a") -> Account:
    return Account(KeySettings(key="k", tenant=tenant, sessions=sessions))


async def held(slots: SessionSlots, who: Account, *, idle: bool, active_at: float = 0.0):
    container = FakeContainer(slots, idle=idle, active_at=active_at)
    container.slot = await slots.for_container(who, container)
    return container


async def is_waiting(work) -> bool:
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    task.cancel()
    await asyncio.wait({task})
    return not done


async def test_every_door_counts_towards_the_sessions_of_a_key():
    slots, one = SessionSlots(64), account(3)
    await slots.for_session(one)
    await held(slots, one, idle=False)
    async with slots.for_run(one):
        assert slots.of("a") == 3
        with pytest.raises(RequestError) as refused:
            await slots.for_session(one)
        assert refused.value.fault == "concurrency"
        assert await is_waiting(held(slots, one, idle=False))
        await slots.for_session(account(1, "b"))
    assert slots.of("a") == 2


async def test_a_run_waits_until_another_of_its_key_has_ended():
    slots, one = SessionSlots(64), account(1)
    order = []

    async def run(name: str) -> None:
        async with slots.for_run(one):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(run("first"), run("second"), run("third"))
    assert order == [f"{n} {w}" for n in ("first", "second", "third") for w in ("begins", "ends")]
    assert slots.of("a") == 0


async def test_the_container_that_was_idle_for_longest_gives_way():
    slots, one = SessionSlots(64), account(2)
    old = await held(slots, one, idle=True, active_at=1.0)
    new = await held(slots, one, idle=True, active_at=2.0)
    await slots.for_session(one)
    assert (old.slot, new.slot is not None) == (None, True)


async def test_nothing_waits_for_sessions_that_stay():
    slots, one = SessionSlots(64), account(1)
    await slots.for_session(one)
    with pytest.raises(RequestError):
        await held(slots, one, idle=False)
    with pytest.raises(RequestError):
        async with slots.for_run(one):
            raise AssertionError("it ran beyond its key's sessions")


async def test_containers_leave_room_for_other_sessions():
    slots, one = SessionSlots(SPARE_SESSIONS + 2), account()
    containers = [await held(slots, one, idle=True, active_at=n) for n in range(3)]
    assert [one.slot is None for one in containers] == [True, False, False]
    for _ in range(SPARE_SESSIONS + 1):
        await slots.for_session(one)
    assert [one.slot is None for one in containers] == [True, True, False]
    await slots.for_session(one)
    assert [one.slot is None for one in containers] == [True, True, True]
    assert (await held(slots, one, idle=False)).slot is not None


async def test_a_container_that_becomes_idle_wakes_those_that_wait():
    slots, one = SessionSlots(64), account(1)
    busy = await held(slots, one, idle=False)
    waiting = asyncio.ensure_future(held(slots, one, idle=False))
    await asyncio.sleep(0)
    busy.is_idle = True
    slots.changed()
    await asyncio.wait_for(waiting, 1)
    assert busy.slot is None


async def test_a_run_that_waited_for_long_is_refused(monkeypatch):
    monkeypatch.setattr(session_slots, "RUN_WAIT_S", 0.05)
    slots, one = SessionSlots(64), account(1)
    async with slots.for_run(one):
        with pytest.raises(RequestError, match="No session of this key was free"):
            async with slots.for_run(one):
                raise AssertionError("it ran beyond its key's sessions")
        assert slots.of("a") == 1
    assert slots.of("a") == 0
