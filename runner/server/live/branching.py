"""Branching: a conversation copied, with the container that its code runs in."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from runner.dialects.responses import replay
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.containers import Containers
from runner.server.store.conversation_store import ConversationStore
from runner.server.store.records import ConversationRow

PARENT = "parent"
"""Metadata: the conversation that a branch began from."""


async def branch_conversation(
    conversations: ConversationStore, containers: Containers, account: Account, row: ConversationRow
) -> ConversationRow:
    """A conversation that says what `row` says, and goes on in a copy of its container.

    The copy has the files, and while the container's session lives its variables too. Raises
    RequestError, StorageError, SandboxError.
    """
    items = await conversations.items(row)
    container_id = replay(items).container_id
    if container_id:
        copy = await _copied(containers, account, container_id)
        items = [_moved(item, container_id, copy) for item in items]
    metadata = {**json.loads(row.metadata), PARENT: row.id}
    cap_bytes = account.settings.stored_bytes
    return await conversations.add(row.owner, metadata, items, cap_bytes=cap_bytes)


async def _copied(containers: Containers, account: Account, container_id: str) -> str:
    """The id of a copy of the container; its own where it is gone, as the next response finds."""
    try:
        row = await containers.find(account.owner, container_id)
    except RequestError:
        return container_id
    if containers.is_expired(row):
        return container_id
    return (await containers.branch(account, row)).id


def _moved(item: Mapping[str, JsonValue], old: str, new: str) -> Mapping[str, JsonValue]:
    """An item whose code ran in container `old`, as if in `new`: later code goes on there."""
    is_there = item.get("type") == "code_interpreter_call" and item.get("container_id") == old
    return {**item, "container_id": new} if is_there else item
