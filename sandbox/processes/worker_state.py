"""Worker states and events: one pure table.

A pair that is not in the table is a bug in the caller, and raises.
"""

from enum import StrEnum


class State(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """SIGINT was sent; the grace runs."""
    RECOVERING = "recovering"
    """The session process is gone or doomed; its standby is to take over."""
    KILLING = "killing"
    """Everything of the worker was sent SIGKILL."""
    DEAD = "dead"


class Event(StrEnum):
    READY = "ready"
    RUN = "run"
    DONE = "done"
    INTERRUPT = "interrupt"
    LOSE = "lose"
    """The session process ended, or is to be killed, and a standby exists."""
    TAKE_OVER = "take_over"
    KILL = "kill"
    EXITED = "exited"


LIVE = (
    State.STARTING,
    State.IDLE,
    State.RUNNING,
    State.INTERRUPTED,
    State.RECOVERING,
    State.KILLING,
)

NEXT = {
    (State.STARTING, Event.READY): State.IDLE,
    (State.IDLE, Event.RUN): State.RUNNING,
    (State.RUNNING, Event.DONE): State.IDLE,
    (State.RUNNING, Event.INTERRUPT): State.INTERRUPTED,
    (State.INTERRUPTED, Event.DONE): State.IDLE,
    (State.IDLE, Event.LOSE): State.RECOVERING,
    (State.RUNNING, Event.LOSE): State.RECOVERING,
    (State.INTERRUPTED, Event.LOSE): State.RECOVERING,
    (State.RECOVERING, Event.TAKE_OVER): State.IDLE,
    **{(state, Event.KILL): State.KILLING for state in LIVE},
    **{(state, Event.EXITED): State.DEAD for state in LIVE},
}


class WorkerStateError(RuntimeError):
    """An event that makes no sense in this state."""


def after(state: State, event: Event) -> State:
    """The state that `event` leads to from `state`."""
    try:
        return NEXT[state, event]
    except KeyError:
        raise WorkerStateError(f"{event} has no place in state {state}") from None
