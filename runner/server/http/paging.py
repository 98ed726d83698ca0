"""Pages of a list, as the OpenAI clients turn them: by the last id of the page before."""

from collections.abc import Mapping, Sequence

from runner.errors import RequestError
from runner.server.store.ids import is_id
from runner.server.store.records import Order


def page_json(rows: Sequence[Mapping[str, object]], *, has_more: bool) -> dict[str, object]:
    """Return one page as the clients read it."""
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0].get("id") if rows else None,
        "last_id": rows[-1].get("id") if rows else None,
        "has_more": has_more,
    }


def cursor(after: str | None) -> str | None:
    """`after` as the id that it must be. Raises RequestError."""
    if after is not None and not is_id(after):
        raise RequestError("invalid", "after is no id of this server.", param="after")
    return after


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
    return page_json(ordered[:limit], has_more=len(ordered) > limit)
