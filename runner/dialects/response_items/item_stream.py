"""ItemStream: events numbered from 0, and the output items that they add up to."""

from dataclasses import dataclass, field

from runner.tools.arguments import StringStream

Json = dict[str, object]


@dataclass(slots=True)
class OpenItem:
    """An item that is being written; only calls may be open side by side."""

    index: int
    item: Json
    texts: list[str] = field(default_factory=list)
    code: StringStream | None = None


class ItemStream:
    """The events of one response so far, and its items."""

    def __init__(self) -> None:
        self._number = 0
        self.output: list[Json] = []

    def event(self, kind: str, **fields: object) -> Json:
        """Make the next event."""
        number = self._number
        self._number += 1
        return {"type": kind, "sequence_number": number, **fields}

    def add(self, item: Json) -> tuple[OpenItem, Json]:
        """Open an item, with the event that says so."""
        opened = OpenItem(len(self.output), item)
        self.output.append(item)
        event = self.event("response.output_item.added", output_index=opened.index, item=dict(item))
        return opened, event

    def of(self, opened: OpenItem) -> Json:
        """Fields by which an event names its item."""
        return {"item_id": opened.item["id"], "output_index": opened.index}

    def done(self, opened: OpenItem) -> Json:
        """Make the event of an item that is whole."""
        return self.event(
            "response.output_item.done", output_index=opened.index, item=dict(opened.item)
        )
