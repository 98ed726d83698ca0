"""Routes of conversations, as OpenAI shapes them."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import JsonValue
from starlette.responses import Response

from runner.dialects.fields import Fields, metadata_of
from runner.dialects.responses import replay, stored_item
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import (
    CONVERSATION_BODY,
    ITEMS_BODY,
    METADATA_BODY,
    errors_of,
)
from runner.server.http.paging import page_json
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import BASES
from runner.server.services import Services
from runner.server.store.records import ConversationRow, Order

ITEMS_CAP = 20
"""So many items are taken at a time."""
router = APIRouter()


async def create_conversation(
    request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Make a new conversation, empty or with its first items."""
    body = Fields(await read_json(request, services.config.server.body_bytes))
    cap_bytes, items = account.settings.stored_bytes, await _items(services, account, body)
    row = await services.conversations.add(
        account.owner, metadata_of(body), items, cap_bytes=cap_bytes
    )
    return json_reply(conversation_json(row), headers=account.headers())


async def get_conversation(
    conversation_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Return one conversation, without its items."""
    return json_reply(
        conversation_json(await services.conversations.find(account.owner, conversation_id))
    )


async def update_conversation(
    conversation_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Give a conversation other metadata."""
    row = await services.conversations.find(account.owner, conversation_id)
    body = Fields(await read_json(request, services.config.server.body_bytes))
    return json_reply(
        conversation_json(await services.conversations.describe(row, metadata_of(body)))
    )


async def delete_conversation(
    conversation_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Forget a conversation with its items."""
    await services.conversations.delete(
        await services.conversations.find(account.owner, conversation_id)
    )
    return json_reply({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


async def create_items(
    conversation_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Put items at the end of a conversation."""
    row = await services.conversations.find(account.owner, conversation_id)
    body = Fields(await read_json(request, services.config.server.body_bytes))
    items = await _items(services, account, body)
    if not items:
        raise RequestError("invalid", "items must be a non-empty array.", param="items")
    added = await services.conversations.extend(row, items, cap_bytes=account.settings.stored_bytes)
    return json_reply(page_json(added, has_more=False), headers=account.headers())


async def list_items(
    conversation_id: str,
    services: TheServices,
    account: TheAccount,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
) -> Response:
    """List the items of a conversation."""
    row = await services.conversations.find(account.owner, conversation_id)
    found = await services.conversations.page(row, after=after, limit=limit, order=order)
    if found is None:
        raise RequestError("invalid", "after names nothing in this list.", param="after")
    items = [json.loads(item.body) for item in found.rows]
    return json_reply(page_json(items, has_more=found.has_more))


async def get_item(
    conversation_id: str, item_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Return one item of a conversation."""
    row = await services.conversations.find(account.owner, conversation_id)
    item = await services.conversations.item(row, item_id)
    if item is None:
        raise _unknown(item_id)
    return json_reply(item)


async def delete_item(
    conversation_id: str, item_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Take an item out of a conversation; the conversation without it."""
    row = await services.conversations.find(account.owner, conversation_id)
    if not await services.conversations.delete_item(row, item_id):
        raise _unknown(item_id)
    return json_reply(conversation_json(row))


for _base in BASES:
    _errors, _path = errors_of("openai"), f"{_base}/conversations"
    router.post(_path, openapi_extra=CONVERSATION_BODY, responses=_errors)(create_conversation)
    _path = f"{_path}/{{conversation_id}}"
    router.get(_path, responses=_errors)(get_conversation)
    router.post(_path, openapi_extra=METADATA_BODY, responses=_errors)(update_conversation)
    router.delete(_path, responses=_errors)(delete_conversation)
    _path = f"{_path}/items"
    router.post(_path, openapi_extra=ITEMS_BODY, responses=_errors)(create_items)
    router.get(_path, responses=_errors)(list_items)
    _path = f"{_path}/{{item_id}}"
    router.get(_path, responses=_errors)(get_item)
    router.delete(_path, responses=_errors)(delete_item)


def conversation_json(row: ConversationRow) -> dict[str, object]:
    """Return a conversation as the clients read it."""
    return {
        "id": row.id,
        "object": "conversation",
        "created_at": row.created_at,
        "metadata": json.loads(row.metadata),
    }


async def _items(
    services: Services, account: Account, body: Fields
) -> Sequence[Mapping[str, JsonValue]]:
    """Return the field `items`, each one that a later response can read. Raises RequestError.

    What is named by reference is put there whole.
    """
    items = [item.data for item in body.objects("items")]
    if len(items) > ITEMS_CAP:
        raise body.wrong("items", f"must have at most {ITEMS_CAP} items")
    referred = await services.responses.referred(account.owner, list(items))
    said = replay(items, is_kept=False, lookup=referred.get)
    return [stored_item(item) for item in said.items]


def _unknown(item_id: str) -> RequestError:
    return RequestError("not_found", f"Item with id '{item_id[:100]}' not found.")
