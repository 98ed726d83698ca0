"""Response store: finished and running responses by id, and the items in them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from runner.dialects.responses_input import is_reference
from runner.server.store.database import Transaction
from runner.server.store.records import ResponseRow
from runner.server.store.storage import ITEMS, RESPONSES, Storage, now_s
from runner.transcript import (
    CodeRun,
    Transcript,
    Turn,
    compact,
    transcript_from_json,
    transcript_to_json,
)

FINAL = ("completed", "failed", "cancelled", "incomplete")
RESTARTED = "The server was restarted while this response was made."
Item = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response that can be fetched and gone on from. It is the server's own JSON, so nothing
    of it is checked again."""

    id: str
    owner: str
    created_at: int
    body: Mapping[str, object]
    """The response object as the client saw it last."""
    input_items: tuple[Item, ...] = ()
    transcript: Transcript = ()
    """The conversation up to its answer, without the instructions of the request."""
    container_id: str = ""


class ResponseStore:
    """Responses, until they are deleted or too old."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def save(self, response: StoredResponse) -> None:
        """Keep `response`, in place of an earlier state of it. Raises StorageError."""
        row = _row(response)
        output = response.body.get("output")
        items = [*response.input_items, *(output if isinstance(output, list) else ())]
        ids = [item["id"] for item in items if isinstance(item, dict) and "id" in item]

        def work(kept: Transaction) -> None:
            kept.add(RESPONSES, row)
            sql = "INSERT OR IGNORE INTO response_items VALUES (?, ?, ?)"
            for item_id in ids:
                kept.change(sql, row.id, row.owner, str(item_id))

        await self._storage.run(work)

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """Return the response, or None."""
        where = "owner = ? AND id = ?"
        row = await self._storage.run(lambda kept: kept.one(RESPONSES, where, owner, response_id))
        return None if row is None else _response(row)

    async def delete(self, owner: str, response_id: str) -> bool:
        """Forget the response; whether there was one."""
        sql = "DELETE FROM responses WHERE owner = ? AND id = ?"
        return await self._storage.free(lambda kept: kept.change(sql, owner, response_id)) > 0

    async def item(self, owner: str, item_id: str) -> Item | None:
        """Return the item `item_id` of any stored response or conversation of the owner."""
        holders = "id IN (SELECT response_id FROM response_items WHERE owner = ? AND item_id = ?)"

        def work(kept: Transaction) -> list[str]:
            printed = kept.all(ITEMS, "owner = ? AND id = ?", owner, item_id)
            rows = kept.all(RESPONSES, holders, owner, item_id)
            return [f"[{row.body}]" for row in printed] + [
                part for row in rows for part in (_output_of(row.body), row.input_items)
            ]

        for text in await self._storage.run(work):
            for item in json.loads(text):
                if isinstance(item, dict) and item.get("id") == item_id:
                    return item
        return None

    async def referred(self, owner: str, items: JsonValue) -> Mapping[str, Item]:
        """Return the stored items that `items` of a request name by reference, by id."""
        found: dict[str, Item] = {}
        for item in items if isinstance(items, list) else ():
            item_id = item.get("id") if isinstance(item, dict) and is_reference(item) else None
            if isinstance(item_id, str) and item_id not in found:
                stored = await self.item(owner, item_id)
                if stored is not None:
                    found[item_id] = stored
        return found

    async def recover(self) -> None:
        """Responses that a stopped server left unfinished have failed, and say so."""

        def work(kept: Transaction) -> None:
            for row in kept.all(RESPONSES, "status NOT IN (?, ?, ?, ?)", *FINAL):
                error = {"code": "server_error", "message": RESTARTED}
                body = {**json.loads(row.body), "status": "failed", "error": error}
                kept.change(
                    "UPDATE responses SET status = 'failed', body = ? WHERE id = ?",
                    compact(body),
                    row.id,
                )

        await self._storage.run(work)

    async def sweep(self, *, retention_s: int) -> None:
        """Forget responses that are older."""
        sql = "DELETE FROM responses WHERE created_at < ?"
        await self._storage.free(lambda kept: kept.change(sql, now_s() - retention_s))


def _row(response: StoredResponse) -> ResponseRow:
    body, items = compact(response.body), compact(response.input_items)
    transcript = transcript_to_json(without_images(response.transcript))
    return ResponseRow(
        id=response.id,
        owner=response.owner,
        created_at=response.created_at,
        status=str(response.body.get("status")),
        container_id=response.container_id,
        size_bytes=len(body.encode()) + len(items.encode()) + len(transcript.encode()),
        body=body,
        input_items=items,
        transcript=transcript,
    )


def _response(row: ResponseRow) -> StoredResponse:
    return StoredResponse(
        id=row.id,
        owner=row.owner,
        created_at=row.created_at,
        body=json.loads(row.body),
        input_items=tuple(json.loads(row.input_items)),
        transcript=transcript_from_json(row.transcript),
        container_id=row.container_id,
    )


def _output_of(body: str) -> str:
    return compact(json.loads(body).get("output") or [])


def without_images(transcript: Transcript) -> Transcript:
    """`transcript` without pictures that code made: no model is shown them, the body has them."""
    return tuple(
        entry.model_copy(
            update={
                "results": tuple(
                    result.model_copy(
                        update={"details": result.details.model_copy(update={"images": ()})}
                    )
                    if isinstance(result.details, CodeRun) and result.details.images
                    else result
                    for result in entry.results
                )
            }
        )
        if isinstance(entry, Turn)
        else entry
        for entry in transcript
    )
