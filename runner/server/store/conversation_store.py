"""Conversation store: items in a row, which responses read and go on."""

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from runner.errors import RequestError
from runner.server.store.database import Page, Transaction
from runner.server.store.ids import new_id
from runner.server.store.records import ConversationRow, ItemRow, Order
from runner.server.store.storage import CONVERSATIONS, ITEMS, Storage, check_quota, now_s
from runner.transcript import compact

Item = Mapping[str, JsonValue]
OWN_ITEM = "owner = ? AND conversation_id = ? AND id = ?"


class ConversationStore:
    """Conversations, until they are deleted."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def add(
        self,
        owner: str,
        metadata: Mapping[str, JsonValue],
        items: Sequence[Item],
        *,
        cap_bytes: int,
    ) -> ConversationRow:
        """Make a new conversation that begins with `items`. Raises RequestError, StorageError."""
        text = compact(metadata)
        row = ConversationRow(
            id=new_id("conv"),
            owner=owner,
            created_at=now_s(),
            metadata=text,
            size_bytes=len(text.encode()),
        )

        def work(kept: Transaction) -> None:
            check_quota(kept, owner, row.size_bytes, cap_bytes)
            kept.add(CONVERSATIONS, row)
            _add(kept, row, items, cap_bytes)

        await self._storage.run(work)
        return row

    async def find(self, owner: str, conversation_id: str) -> ConversationRow:
        """Return the owner's conversation. Raises RequestError, StorageError."""
        where = "owner = ? AND id = ?"
        row = await self._storage.run(
            lambda kept: kept.one(CONVERSATIONS, where, owner, conversation_id)
        )
        if row is None:
            message = f"Conversation with id '{conversation_id[:100]}' not found."
            raise RequestError("not_found", message, param="conversation")
        return row

    async def newest(self, owner: str, *, limit: int) -> list[ConversationRow]:
        """Return the owner's conversations, the newest first."""
        where = "owner = ? ORDER BY created_at DESC, id DESC LIMIT ?"
        return await self._storage.run(lambda kept: kept.all(CONVERSATIONS, where, owner, limit))

    async def describe(
        self, row: ConversationRow, metadata: Mapping[str, JsonValue]
    ) -> ConversationRow:
        """Return the conversation with other metadata."""
        text = compact(metadata)
        sql = "UPDATE conversations SET metadata = ?, size_bytes = ? WHERE id = ?"
        size = len(text.encode())
        await self._storage.run(lambda kept: kept.change(sql, text, size, row.id))
        return row.model_copy(update={"metadata": text, "size_bytes": size})

    async def delete(self, row: ConversationRow) -> None:
        """Forget the conversation with its items."""
        sql = "DELETE FROM conversations WHERE id = ?"
        await self._storage.free(lambda kept: kept.change(sql, row.id))

    async def extend(
        self, row: ConversationRow, items: Sequence[Item], *, cap_bytes: int | None = None
    ) -> list[Item]:
        """Put `items` at the end; they come back with their ids. Raises RequestError.

        Without a cap they are kept whatever the owner has: work that was begun is not lost. A
        conversation that was deleted meanwhile stays so.
        """
        return await self._storage.run(lambda kept: _add(kept, row, items, cap_bytes))

    async def items(self, row: ConversationRow) -> list[Item]:
        """Return all items in order."""
        where = "conversation_id = ? ORDER BY number"
        rows = await self._storage.run(lambda kept: kept.all(ITEMS, where, row.id))
        return [json.loads(one.body) for one in rows]

    async def item(self, row: ConversationRow, item_id: str) -> Item | None:
        """Return one item, or None."""
        found = await self._storage.run(
            lambda kept: kept.one(ITEMS, OWN_ITEM, row.owner, row.id, item_id)
        )
        return None if found is None else json.loads(found.body)

    async def delete_item(self, row: ConversationRow, item_id: str) -> bool:
        """Forget one item; whether there was one."""
        sql = f"DELETE FROM items WHERE {OWN_ITEM}"
        changed = await self._storage.free(
            lambda kept: kept.change(sql, row.owner, row.id, item_id)
        )
        return changed > 0

    async def page(
        self, row: ConversationRow, *, after: str | None, limit: int, order: Order
    ) -> Page[ItemRow] | None:
        """List some items; None when `after` names no item of the conversation."""

        def work(kept: Transaction) -> Page[ItemRow] | None:
            behind = None
            if after is not None:
                cursor = kept.one(ITEMS, OWN_ITEM, row.owner, row.id, after)
                if cursor is None:
                    return None
                behind = cursor.number
            return kept.page(
                ITEMS,
                "conversation_id = ?",
                row.id,
                after=behind,
                limit=limit,
                order=order,
                key="number",
            )

        return await self._storage.run(work)


def _add(
    kept: Transaction, row: ConversationRow, items: Sequence[Item], cap_bytes: int | None
) -> list[Item]:
    added: list[Item] = []
    if kept.one(CONVERSATIONS, "id = ?", row.id) is None:
        return added
    for item in items:
        item_id = item.get("id")
        where = "conversation_id = ? AND id = ?"
        if not isinstance(item_id, str) or kept.one(ITEMS, where, row.id, item_id) is not None:
            item_id = new_id("msg" if item.get("type", "message") == "message" else "item")
        whole = {**item, "id": item_id}
        body = compact(whole)
        size = len(body.encode())
        if cap_bytes is not None:
            check_quota(kept, row.owner, size, cap_bytes)
        kept.add(
            ITEMS,
            ItemRow(
                conversation_id=row.id, id=item_id, owner=row.owner, body=body, size_bytes=size
            ),
        )
        added.append(whole)
    return added
