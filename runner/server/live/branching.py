"""Branching: a conversation copied, with the container that its code runs in."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from pydantic import JsonValue

from runner.dialects.responses import replay
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.containers import Containers
from runner.server.store.conversation_store import ConversationStore, Item
from runner.server.store.records import ContainerRow, ConversationRow

PARENT = "parent"
"""Metadata: the conversation that a branch began from."""


async def branch_conversation(
    conversations: ConversationStore,
    containers: Containers,
    account: Account,
    row: ConversationRow,
    *,
    count: int = 1,
) -> list[ConversationRow]:
    """Conversations that say what `row` says, each going on in a copy of its container.

    A copy has the files, and while the container's session lives its variables too. Where one
    of `count` cannot be made there is none. Raises RequestError, StorageError, SandboxError.
    """
    items = await conversations.items(row)
    metadata = {**json.loads(row.metadata), PARENT: row.id}
    cap_bytes = account.settings.stored_bytes
    source = await _source(containers, account, replay(items).container_id)
    found = []
    async with AsyncExitStack() as made:
        for _ in range(count):
            moved: Sequence[Item] = items
            if source is not None:
                copy = await containers.branch(account, source)
                made.push_async_callback(containers.delete, copy)
                moved = [_moved(item, source.id, copy.id) for item in items]
            branch = await conversations.add(row.owner, metadata, moved, cap_bytes=cap_bytes)
            made.push_async_callback(conversations.delete, branch)
            found.append(branch)
        made.pop_all()
    return found


async def _source(
    containers: Containers, account: Account, container_id: str
) -> ContainerRow | None:
    """The container, None where it is gone: the next response finds that by itself."""
    if not container_id:
        return None
    try:
        row = await containers.find(account.owner, container_id)
    except RequestError:
        return None
    return None if containers.is_expired(row) else row


def _moved(item: Mapping[str, JsonValue], old: str, new: str) -> Mapping[str, JsonValue]:
    """An item whose code ran in container `old`, as if in `new`: later code goes on there."""
    is_there = item.get("type") == "code_interpreter_call" and item.get("container_id") == old
    return {**item, "container_id": new} if is_there else item
