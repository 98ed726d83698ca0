"""The table of worker states: what may follow what, and that nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.processes.worker_state import LIVE, NEXT, Event, State, WorkerStateError, after


def test_a_snippet_that_ends_by_itself_leads_back_to_idle() -> None:
    state = State.STARTING
    for event in (Event.READY, Event.RUN, Event.DONE, Event.RUN, Event.INTERRUPT, Event.DONE):
        state = after(state, event)
    assert state is State.IDLE


def test_a_lost_process_is_recovered_from_wherever_there_was_one() -> None:
    for state in (State.IDLE, State.RUNNING, State.INTERRUPTED):
        assert after(after(state, Event.LOSE), Event.TAKE_OVER) is State.IDLE


@pytest.mark.parametrize("state", LIVE)
def test_every_live_state_can_be_killed_and_can_end(state: State) -> None:
    assert after(state, Event.KILL) is State.KILLING
    assert after(state, Event.EXITED) is State.DEAD


@pytest.mark.parametrize("event", Event)
def test_nothing_happens_to_the_dead(event: Event) -> None:
    with pytest.raises(WorkerStateError, match=f"{event} has no place in state dead"):
        after(State.DEAD, event)


@given(st.sampled_from(State), st.sampled_from(Event))
def test_a_pair_outside_of_the_table_raises(state: State, event: Event) -> None:
    if (state, event) in NEXT:
        assert after(state, event) is NEXT[state, event]
    else:
        with pytest.raises(WorkerStateError):
            after(state, event)


@given(st.lists(st.sampled_from(Event)))
def test_no_order_of_events_runs_two_snippets_or_revives_a_killed_worker(
    events: list[Event],
) -> None:
    state, is_running, was_killed = State.STARTING, False, False
    for event in events:
        try:
            state = after(state, event)
        except WorkerStateError:
            continue
        if event is Event.RUN:
            assert not is_running
        is_running = state in (State.RUNNING, State.INTERRUPTED, State.RECOVERING)
        was_killed = was_killed or event is Event.KILL
        if was_killed:
            assert state in (State.KILLING, State.DEAD)
