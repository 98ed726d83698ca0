"""Preparing: a checked request of the Responses API, with what it goes on from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue
from starlette.requests import HTTPConnection

from runner.dialects import responses
from runner.dialects.parsed_request import ParsedRequest, Rules
from runner.dialects.response_items.mcp_requests import McpOffer, settled
from runner.dialects.responses import ResponsesOptions
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.mcp_offers import offered
from runner.server.routes.responses.response_run import Earlier, ResponseRun
from runner.server.services import Services
from runner.server.store.response_store import FINAL, StoredResponse
from runner.transcript import Transcript

EARLIER_RESPONSES = 100
"""So many responses before a request are searched for what it refers to."""
Recalled = Callable[[str], StoredResponse | None]


async def prepared(
    connection: HTTPConnection,
    services: Services,
    account: Account,
    body: JsonValue,
    *,
    counting: bool = False,
    recent: Recalled = lambda _response_id: None,
) -> ResponseRun:
    """The checked request with its earlier conversation and its container.

    With `counting` the model is to answer with one token, and nothing is kept. `recent` finds
    responses that a connection remembers without their being stored.
    """
    referred = await referred_in(services, account, body)
    rules: Rules = "openai" if connection.url.path.startswith("/v1/") else "model_studio"
    present = await present_in(services, account, body) if referred else frozenset()
    parsed, options = responses.parse(body, lookup=referred.get, rules=rules, present=present)
    if counting:
        parsed = replace(parsed, max_tokens=1, approvals={})
        options = replace(options, store=False)
    services.directory.find(parsed.model)
    earlier = await earlier_of(services, account, options, recent)
    mcp = offered(
        services.mcp_functions.servers,
        parsed,
        shown_chars=services.shown_chars(parsed.model),
        listed_before=earlier.listed | listed_in(options.input_items),
    )
    earlier, parsed = settled_in(earlier, parsed, mcp.offer)
    entries, new_entries = entries_of(parsed, options, earlier)
    if options.store or (earlier.conversation is not None and not counting):
        await services.storage.check_room(account.owner, account.settings.stored_bytes)
    lease = None
    if parsed.has_interpreter:
        container_id = earlier.container_id or options.replayed_container
        lease = await services.containers.lease(
            account,
            parsed.container,
            earlier=container_id,
            file_ids=options.file_ids,
            inline_files=options.inline_files,
        )
    job = services.job(
        parsed, account, entries=entries, lease=lease, rounds=2 if counting else None, mcp=mcp
    )
    return ResponseRun(connection, services, account, parsed, options, job, earlier, new_entries)


def entries_of(
    parsed: ParsedRequest, options: ResponsesOptions, earlier: Earlier
) -> tuple[Transcript, Transcript]:
    """What the model is asked, and what of it the request adds to the conversation."""
    new_entries = parsed.entries
    if not options.instructions:
        return (*earlier.transcript, *new_entries), new_entries
    return (new_entries[0], *earlier.transcript, *new_entries[1:]), new_entries[1:]


async def earlier_of(
    services: Services,
    account: Account,
    options: ResponsesOptions,
    recent: Recalled = lambda _response_id: None,
) -> Earlier:
    """What the request goes on from. Raises RequestError."""
    if options.previous_response_id:
        previous = await _previous(services, account, options.previous_response_id, recent)
        tools = previous.body.get("tools")
        labels = {
            str(one.get("server_label"))
            for one in (tools if isinstance(tools, list) else [])
            if isinstance(one, dict) and one.get("type") == "mcp"
        }
        return Earlier(previous.transcript, previous.container_id, listed=frozenset(labels))
    if not options.conversation:
        return Earlier()
    row = await services.conversations.find(account.owner, options.conversation)
    items = await services.conversations.items(row)
    found = responses.replay(items)
    return Earlier(found.entries, found.container_id, row, listed_in(items))


def listed_in(items: Sequence[Mapping[str, JsonValue]]) -> frozenset[str]:
    """Servers whose tools are listed among `items`."""
    return frozenset(
        str(item.get("server_label")) for item in items if item.get("type") == "mcp_list_tools"
    )


def settled_in(
    earlier: Earlier, parsed: ParsedRequest, offer: McpOffer
) -> tuple[Earlier, ParsedRequest]:
    """Both with a result for each call that is not approved. Raises RequestError."""
    before = len(earlier.transcript)
    whole = settled((*earlier.transcript, *parsed.entries), parsed.approvals, offer.names)
    if whole == (*earlier.transcript, *parsed.entries):
        return earlier, parsed
    return replace(earlier, transcript=whole[:before]), replace(parsed, entries=whole[before:])


async def _previous(
    services: Services, account: Account, response_id: str, recent: Recalled
) -> StoredResponse:
    found = recent(response_id) or await services.responses.get(account.owner, response_id)
    if found is None:
        message = f"Previous response with id '{response_id[:100]}' not found."
        raise RequestError("previous_response", message, param="previous_response_id")
    if found.body.get("status") not in FINAL:
        raise RequestError(
            "conflict", "The previous response is not finished.", param="previous_response_id"
        )
    return found


async def present_in(services: Services, account: Account, body: JsonValue) -> frozenset[str]:
    """Return the ids of the items that the request goes on from."""
    fields = body if isinstance(body, dict) else {}
    named = fields.get("conversation")
    named = named.get("id") if isinstance(named, dict) else named
    found: set[object] = set()
    if isinstance(named, str):
        row = await services.conversations.find(account.owner, named)
        found.update(item.get("id") for item in await services.conversations.items(row))
    response_id: object = fields.get("previous_response_id")
    for _ in range(EARLIER_RESPONSES):
        if not isinstance(response_id, str):
            break
        stored = await services.responses.get(account.owner, response_id)
        if stored is None:
            break
        output = stored.body.get("output")
        items = [*stored.input_items, *(output if isinstance(output, list) else ())]
        found.update(item.get("id") for item in items if isinstance(item, dict))
        response_id = stored.body.get("previous_response_id")
    return frozenset(item_id for item_id in found if isinstance(item_id, str))


async def referred_in(
    services: Services, account: Account, body: JsonValue
) -> Mapping[str, Mapping[str, JsonValue]]:
    """Return the stored items that the input names by reference."""
    given = body.get("input") if isinstance(body, dict) else None
    return await services.responses.referred(account.owner, given)
