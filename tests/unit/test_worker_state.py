"""The table of worker states: what may follow what, and that nothing else does."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.processes.worker_state import (
    LIVE,
    NEXT,
    Event,
    Lifecycle,
    State,
    WorkerStateError,
    after,
    diagram,
)

ROOT = Path(__file__).parents[2]


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


def test_a_worker_changes_its_state_by_events_alone() -> None:
    one = Lifecycle()
    assert one.state is State.STARTING
    one.happen(Event.READY)
    assert one.state is State.IDLE
    with pytest.raises(WorkerStateError):
        one.happen(Event.TAKE_OVER)
    assert one.state is State.IDLE
    with pytest.raises(AttributeError):
        one.state = State.DEAD  # type: ignore[misc]


def test_the_one_assignment_of_a_state_is_that_of_the_table() -> None:
    writers = [
        f"{path.name}: {ast.unparse(node)}"
        for path in (ROOT / "sandbox").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        and any(
            isinstance(target, ast.Attribute) and target.attr in ("state", "_state")
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
    ]
    assert writers == [
        "worker_state.py: self._state = State.STARTING",
        "worker_state.py: self._state = after(self._state, event)",
    ]


def test_each_event_of_the_table_is_fired_somewhere() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "sandbox").rglob("*.py"))
    assert [one for one in Event if f"happen(Event.{one.name})" not in sources] == []


def test_the_diagram_shows_every_pair_of_the_table_and_no_other() -> None:
    lines = [line.split() for line in diagram().splitlines()]
    drawn = {(words[0], words[4]): words[2] for words in lines if ":" in words and "-->" in words}
    shown = {}
    for (source, event), target in drawn.items():
        for state in LIVE if source == "live" else [State(source)]:
            shown[state, Event(event)] = State(target)
    assert shown == NEXT
