"""Eventfds, selectors and event loops that a session has: a branch has its own, as they were."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox, Session
from tests.jail.branching import text

EVENTS = """
import os, select
count = os.eventfd(7, os.EFD_NONBLOCK)
tokens = os.eventfd(2, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
inner = select.epoll()
inner.register(count, select.EPOLLIN)
outer = select.epoll()
outer.register(inner.fileno(), select.EPOLLIN)
"""
USED = (
    "ready = outer.poll(0) == [(inner.fileno(), 1)], inner.poll(0) == [(count, 1)]\n"
    "ready, os.eventfd_read(count), outer.poll(0), os.eventfd_read(tokens), os.eventfd_read(tokens)"
)
LOOP = """
import asyncio
async def later(value):
    await asyncio.sleep(0.001)
    return value
loop = asyncio.new_event_loop()
loop.run_until_complete(later(1))
"""


@pytest.fixture
def origin() -> Iterator[Session]:
    """A session of the tier that has branches."""
    with Sandbox(Policy(), pool_size=0) as box, box.session() as session:
        yield session


def test_eventfds_and_selectors_go_on_in_a_branch_apart_from_the_origins(origin: Session) -> None:
    assert origin.run(EVENTS).status == "completed"
    with origin.fork() as branch:
        for session in (branch, origin):
            assert text(session.run(USED)) == "((True, True), 7, [], 1, 1)"


def test_a_count_of_64_bits_is_the_branchs_too(origin: Session) -> None:
    origin.run("import os; large = os.eventfd(1); os.eventfd_write(large, 2**40)")
    with origin.fork() as branch:
        assert text(branch.run("os.eventfd_read(large) == 2**40 + 1")) == "True"


def test_an_event_loop_of_a_snippets_own_runs_in_both(origin: Session) -> None:
    assert origin.run(LOOP).status == "completed"
    with origin.fork() as branch:
        assert text(branch.run("loop.run_until_complete(later(2))")) == "2"
        assert text(origin.run("loop.run_until_complete(later(3))")) == "3"


def test_an_event_loop_of_a_snippets_own_runs_after_a_rollback(origin: Session) -> None:
    origin.run(LOOP)
    mark = origin.checkpoint()
    origin.run("loop.close()")
    origin.rollback(mark)
    assert text(origin.run("loop.run_until_complete(later(4))")) == "4"


def test_signal_handlers_of_a_loop_are_called_in_a_branch(origin: Session) -> None:
    origin.run(LOOP + "import signal\nloop.add_signal_handler(signal.SIGALRM, print, 'alarm')")
    code = (
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "for _ in range(100):\n    loop.run_until_complete(asyncio.sleep(0.01))"
    )
    with origin.fork() as branch:
        assert branch.run(code).stdout == "alarm\n"
        assert origin.run(code).stdout == "alarm\n"
