"""Routes of the Responses API: create, fetch, delete, cancel, and the stored input."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import JsonValue
from starlette.responses import Response

from runner.dialects import responses
from runner.dialects.fields import Fields
from runner.dialects.parsed_request import ParsedRequest
from runner.dialects.responses import ResponsesOptions
from runner.dialects.responses_events import frame
from runner.errors import RequestError, RunnerError
from runner.events import CallRunning
from runner.server.accounts import Account
from runner.server.http.middleware import read_json
from runner.server.http.openapi_bodies import answers_of, errors_of
from runner.server.http.openapi_requests import RESPONSE
from runner.server.http.paging import page
from runner.server.http.replies import error_reply, json_reply
from runner.server.http.streaming import Answer, EventStream, Wire
from runner.server.live.background import BackgroundRun
from runner.server.routes.access import Here, Who
from runner.server.routes.response_run import Earlier, ResponseRun
from runner.server.services import Services
from runner.server.store.records import ConversationRow, Order
from runner.server.store.response_store import FINAL, StoredResponse
from runner.transcript import Transcript
from sandbox import SandboxError

BASES = ("/v1", "/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")
router = APIRouter()


async def create_response(request: Request, here: Here, who: Who) -> Response:
    """A response: streamed, whole, or in the background."""
    body = await read_json(request, here.config.server.body_bytes)
    respond = await _respond(request, here, who, body)
    if respond.options.background:
        run = BackgroundRun(
            who.owner,
            respond.events(None, queued=True),
            on_cancel=respond.cancelled,
            on_close=respond.job.close,
        )
        here.background.add(respond.id, run)
        queued = await run.begin()
        if not respond.parsed.stream:
            return json_reply(queued, headers=who.headers())
        return _stream(here, who, run.replay(-1))
    if not respond.parsed.stream:
        return Answer(
            lambda: _whole(request, respond, who), here.streams, on_close=respond.job.close
        )
    wire = Wire()
    return EventStream(
        _frames(respond.events(wire)),
        wire,
        here.streams,
        heartbeat_s=here.config.server.heartbeat_s,
        headers=who.headers(),
        on_abort=lambda fault: b"".join(map(frame, respond.failed(fault))),
        on_close=respond.job.close,
    )


async def _whole(request: Request, respond: ResponseRun, who: Account) -> Response:
    last: Mapping[str, object] = {}
    try:
        async with aclosing(respond.events(None)) as events:
            async for told in events:
                body = told.get("response")
                last = body if isinstance(body, dict) else last
    except (RunnerError, SandboxError) as error:
        return error_reply(request, error, ran_code=respond.job.has_run_code)
    if respond.fault is not None:
        # The client of a whole answer learns of a failure by the status alone.
        return error_reply(request, respond.fault, ran_code=respond.job.has_run_code)
    return json_reply(last, headers=who.headers())


async def _frames(
    events: AsyncGenerator[dict[str, object], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for told in events:
            yield frame(told)


def _stream(
    here: Services, who: Account, events: AsyncGenerator[dict[str, object], None]
) -> EventStream:
    return EventStream(
        _frames(events),
        Wire(),
        here.streams,
        heartbeat_s=here.config.server.heartbeat_s,
        headers=who.headers(),
    )


async def _respond(
    request: Request, here: Services, who: Account, body: JsonValue, *, counting: bool = False
) -> ResponseRun:
    """The checked request with its earlier conversation and its container.

    With `counting` the model is to answer with one token, and nothing is kept.
    """
    referred = await _referred(here, who, body)
    parsed, options = responses.parse(body, lookup=referred.get)
    if counting:
        parsed, options = replace(parsed, max_tokens=1), replace(options, store=False)
    here.directory.find(parsed.model)
    earlier = await _earlier(here, who, options)
    entries, told = _entries(parsed, options, earlier)
    if options.store or (earlier.conversation is not None and not counting):
        await here.storage.check_room(who.owner, who.settings.stored_bytes)
    lease = None
    if parsed.has_interpreter:
        container_id = earlier.container_id or options.replayed_container
        lease = await here.containers.lease(
            who,
            parsed.container,
            earlier=container_id,
            file_ids=options.file_ids,
            inline_files=options.inline_files,
        )
    job = here.job(parsed, who, entries=entries, lease=lease, rounds=2 if counting else None)
    return ResponseRun(request, here, who, parsed, options, job, earlier, told)


def _entries(
    parsed: ParsedRequest, options: ResponsesOptions, earlier: Earlier
) -> tuple[Transcript, Transcript]:
    """What the model is asked, and what of it the request adds to the conversation."""
    told = parsed.entries
    if not options.instructions:
        return (*earlier.transcript, *told), told
    return (told[0], *earlier.transcript, *told[1:]), told[1:]


async def _earlier(here: Services, who: Account, options: ResponsesOptions) -> Earlier:
    if options.previous_response_id:
        previous = await _previous(here, who, options.previous_response_id)
        return Earlier(previous.transcript, previous.container_id)
    if not options.conversation:
        return Earlier()
    row = await find_conversation(here, who, options.conversation)
    found = responses.replay(await here.conversations.items(row))
    return Earlier(found.entries, found.container_id, row)


async def find_conversation(here: Services, who: Account, conversation_id: str) -> ConversationRow:
    """The key's conversation. Raises RequestError."""
    row = await here.conversations.get(who.owner, conversation_id)
    if row is None:
        message = f"Conversation with id '{conversation_id[:100]}' not found."
        raise RequestError("not_found", message, param="conversation")
    return row


async def _previous(here: Services, who: Account, response_id: str) -> StoredResponse:
    found = await here.responses.get(who.owner, response_id)
    if found is None:
        message = f"Previous response with id '{response_id[:100]}' not found."
        raise RequestError("previous_response", message, param="previous_response_id")
    if found.body.get("status") not in FINAL:
        raise RequestError(
            "conflict", "The previous response is not finished.", param="previous_response_id"
        )
    return found


async def _referred(
    here: Services, who: Account, body: JsonValue
) -> Mapping[str, Mapping[str, JsonValue]]:
    """Stored items that the input names by reference."""
    given = body.get("input") if isinstance(body, dict) else None
    found: dict[str, Mapping[str, JsonValue]] = {}
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and item.get("type") == "item_reference":
            item_id = Fields(item).text("id") or ""
            stored = await here.responses.item(who.owner, item_id)
            if stored is not None:
                found[item_id] = stored
    return found


# ---- stored responses ---------------------------------------------------------------------------


async def get_response(
    response_id: str,
    here: Here,
    who: Who,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
) -> Response:
    """A stored response; of a background one also its events, from any number on."""
    run = here.background.find(who.owner, response_id)
    if stream:
        if run is None:
            await _stored(here, who, response_id)
            raise RequestError(
                "invalid", "Only a background response can be streamed again.", param="stream"
            )
        return _stream(here, who, run.replay(starting_after))
    if run is not None and not run.is_over:
        return json_reply(run.body)
    return json_reply((await _stored(here, who, response_id)).body)


async def delete_response(response_id: str, here: Here, who: Who) -> Response:
    """Forget a response; a background one is cancelled first."""
    run = here.background.find(who.owner, response_id)
    if run is not None:
        await run.cancel()
        here.background.forget(response_id)
    if not await here.responses.delete(who.owner, response_id):
        raise _unknown(response_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


async def cancel_response(response_id: str, here: Here, who: Who) -> Response:
    """Stop a background response; the model and the snippet end at once."""
    run = here.background.find(who.owner, response_id)
    if run is not None:
        return json_reply(await run.cancel())
    await _stored(here, who, response_id)
    raise RequestError("invalid", "Only a background response can be cancelled.")


async def input_items(
    response_id: str,
    here: Here,
    who: Who,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
) -> Response:
    """The input of a stored response."""
    stored = await _stored(here, who, response_id)
    return json_reply(page(stored.input_items, after=after, limit=limit, order=order))


async def input_tokens(request: Request, here: Here, who: Who) -> Response:
    """How many tokens a request would begin with, as the model's own endpoint counts them.

    It is asked for an answer of one token. An endpoint that counts nothing leaves an estimate.
    """
    respond = await _respond(
        request, here, who, await read_json(request, here.config.server.body_bytes), counting=True
    )
    job = respond.job

    async def make() -> Response:
        async with aclosing(job.events()) as events:
            async for event in events:
                if isinstance(event, CallRunning):
                    # An endpoint that wrote a whole call all the same: nothing is run here.
                    break
        tokens = job.loop.usage.input_tokens
        body = {"object": "response.input_tokens", "input_tokens": tokens}
        return json_reply(body, headers=who.headers())

    return Answer(make, here.streams, on_close=job.close)


for _base in BASES:
    _errors = errors_of("openai")
    router.post(f"{_base}/responses/input_tokens", openapi_extra=RESPONSE, responses=_errors)(
        input_tokens
    )
    _answers = answers_of("openai")
    router.post(f"{_base}/responses", openapi_extra=RESPONSE, responses=_answers)(create_response)
    router.get(f"{_base}/responses/{{response_id}}", responses=_answers)(get_response)
    router.delete(f"{_base}/responses/{{response_id}}", responses=_errors)(delete_response)
    router.post(f"{_base}/responses/{{response_id}}/cancel", responses=_errors)(cancel_response)
    router.get(f"{_base}/responses/{{response_id}}/input_items", responses=_errors)(input_items)


async def _stored(here: Services, who: Account, response_id: str) -> StoredResponse:
    found = await here.responses.get(who.owner, response_id)
    if found is None:
        raise _unknown(response_id)
    return found


def _unknown(response_id: str) -> RequestError:
    return RequestError("not_found", f"Response with id '{response_id[:100]}' not found.")
