"""Pages of a list, as the OpenAI clients turn them: by the last id of the page before."""

from collections.abc import Mapping, Sequence
from typing import Literal

from runner.errors import RequestError

Order = Literal["asc", "desc"]


def page(
    items: Sequence[Mapping[str, object]], *, after: str | None, limit: int, order: Order
) -> dict[str, object]:
    """One page of `items`, which come oldest first. Raises RequestError for an unknown `after`."""
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after:
        places = [place for place, item in enumerate(ordered) if item.get("id") == after]
        if not places:
            raise RequestError("invalid", "after names nothing in this list.", param="after")
        ordered = ordered[places[0] + 1 :]
    data = ordered[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0].get("id") if data else None,
        "last_id": data[-1].get("id") if data else None,
        "has_more": len(ordered) > limit,
    }
