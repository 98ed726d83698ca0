"""OpenCalls: what stands behind the function calls that clients of Chat have yet to answer.

A Chat client sees its own calls and none of the code that ran beside them. When it comes back with
their results, the model is shown the turns as they were, and code goes on in the same container.
Kept in memory alone: after a restart the code begins anew, and the model is told so.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from runner.server.store.response_store import without_images
from runner.transcript import Entry, Turn

MOST = 2048
MOST_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A request that ended with calls for the client."""

    turns: tuple[Turn, ...]
    container_id: str


class OpenCalls:
    """The latest such requests, by owner and by the ids of their calls."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], OpenCall] = OrderedDict()

    def remember(self, owner: str, turns: Sequence[Turn], container_id: str) -> None:
        """Keep `turns`, the last of which has calls without a result."""
        kept = tuple(turn for turn in without_images(tuple(turns)) if isinstance(turn, Turn))
        if not kept or sum(map(_chars, kept)) > MOST_CHARS:
            kept = kept[-1:]
        call = OpenCall(kept, container_id)
        for call_id in _open_ids(kept[-1]) if kept else ():
            self._known[owner, call_id] = call
            if len(self._known) > MOST:
                self._known.popitem(last=False)

    def restored(self, owner: str, entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], str]:
        """`entries` with the turns that they had, and the container that the last of them used."""
        found: list[Entry] = []
        container_id = ""
        for entry in entries:
            call = self._of(owner, entry)
            if call is None:
                found.append(entry)
            else:
                found += call.turns
                container_id = call.container_id or container_id
        return tuple(found), container_id

    def _of(self, owner: str, entry: Entry) -> OpenCall | None:
        if not isinstance(entry, Turn):
            return None
        calls = (self._known.get((owner, call.id)) for call in entry.calls)
        return next((call for call in calls if call is not None), None)


def _open_ids(turn: Turn) -> set[str]:
    return {call.id for call in turn.calls} - {result.call_id for result in turn.results}


def _chars(turn: Turn) -> int:
    calls = sum(len(call.arguments) for call in turn.calls)
    return len(turn.text) + calls + sum(len(result.shown) for result in turn.results)
