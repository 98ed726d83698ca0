"""Worker states and events: one pure table, and the only place where a state changes.

A pair that is not in the table is a bug in the caller, and raises. `Lifecycle` holds the state of
one worker; `diagram` draws the table.
"""

from collections.abc import Iterator
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
    """Init is gone, or was never there."""


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


class Lifecycle:
    """The state of one worker; it changes by events alone."""

    def __init__(self) -> None:
        self._state = State.STARTING
        self.is_live = True
        """Whether its processes are there, and not about to be ended."""

    @property
    def state(self) -> State:
        return self._state

    def happen(self, event: Event) -> None:
        """Move to the state that `event` leads to. Raises WorkerStateError."""
        self._state = after(self._state, event)
        self.is_live = self._state not in (State.DEAD, State.KILLING)


def diagram() -> str:
    """The table as a Mermaid state diagram; events that every live state has are drawn once."""
    return "\n".join(("stateDiagram-v2", *_lines()))


def _lines() -> Iterator[str]:
    yield f"    [*] --> {State.STARTING}"
    everywhere: dict[Event, State] = {}
    for event in Event:
        targets = {NEXT.get((state, event)) for state in LIVE}
        target = targets.pop()
        if not targets and target is not None:
            everywhere[event] = target
    for (state, event), following in NEXT.items():
        if event not in everywhere:
            yield f"    {state} --> {following} : {event}"
    for event, following in everywhere.items():
        yield f"    live --> {following} : {event}"
    yield f"    {State.DEAD} --> [*]"
    yield f"    note right of live : any of {', '.join(LIVE)}"
