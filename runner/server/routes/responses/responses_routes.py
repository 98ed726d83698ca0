"""Routes of the Responses API: create, fetch, delete, cancel, and the stored input."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from runner.dialects import compaction
from runner.dialects.response_items.mcp_requests import settled
from runner.dialects.responses_events import frame
from runner.errors import RequestError, RunnerError
from runner.events import CallRunning
from runner.server.accounts import Account
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import answers_of, errors_of
from runner.server.http.openapi_requests import COMPACT, RESPONSE
from runner.server.http.paging import page
from runner.server.http.replies import error_reply, json_reply
from runner.server.http.streaming import Answer, EventStream, StatusLine
from runner.server.live.background import BackgroundRun
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import BASES
from runner.server.routes.responses.preparing import (
    earlier_of,
    entries_of,
    prepared,
    referred_in,
)
from runner.server.routes.responses.response_run import ResponseRun
from runner.server.services import Services
from runner.server.store.ids import new_id
from runner.server.store.records import Order
from runner.server.store.response_store import StoredResponse
from sandbox import SandboxError

router = APIRouter()


async def create_response(request: Request, services: TheServices, account: TheAccount) -> Response:
    """A response: streamed, whole, or in the background."""
    body = await read_json(request, services.config.server.body_bytes)
    response_run = await prepared(request, services, account, body)
    if response_run.options.background:
        run = BackgroundRun(
            account.owner,
            response_run.events(None, queued=True),
            on_cancel=response_run.cancelled,
            on_close=response_run.job.close,
        )
        services.background.add(response_run.id, run)
        queued = await run.begin()
        if not response_run.parsed.stream:
            return json_reply(queued, headers=account.headers())
        return _stream(services, account, run.replay(-1))
    if not response_run.parsed.stream:
        return Answer(
            lambda: _whole(request, response_run, account),
            services.streams,
            on_close=response_run.job.close,
        )
    status_line = StatusLine()
    return EventStream(
        _frames(response_run.events(status_line)),
        status_line,
        services.streams,
        heartbeat_s=services.config.server.heartbeat_s,
        headers=account.headers(),
        on_abort=lambda fault: b"".join(map(frame, response_run.failed(fault))),
        on_close=response_run.job.close,
    )


async def _whole(request: Request, response_run: ResponseRun, account: Account) -> Response:
    last: Mapping[str, object] = {}
    try:
        async with aclosing(response_run.events(None)) as events:
            async for wire_event in events:
                body = wire_event.get("response")
                last = body if isinstance(body, dict) else last
    except (RunnerError, SandboxError) as error:
        return error_reply(request, error, ran_code=response_run.job.has_run_code)
    if response_run.fault is not None:
        # The client of a whole answer learns of a failure by the status alone.
        return error_reply(request, response_run.fault, ran_code=response_run.job.has_run_code)
    return json_reply(last, headers=account.headers())


async def _frames(
    events: AsyncGenerator[dict[str, object], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for wire_event in events:
            yield frame(wire_event)


def _stream(
    services: Services, account: Account, events: AsyncGenerator[dict[str, object], None]
) -> EventStream:
    return EventStream(
        _frames(events),
        StatusLine(),
        services.streams,
        heartbeat_s=services.config.server.heartbeat_s,
        headers=account.headers(),
    )


async def _end_of(
    body: Mapping[str, object], after: int
) -> AsyncGenerator[dict[str, object], None]:
    """Give the last event of a response whose events are no longer known."""
    kind = f"response.{body['status']}"
    yield {"type": kind, "sequence_number": after + 1, "response": dict(body)}


# ---- stored responses ---------------------------------------------------------------------------


async def get_response(
    response_id: str,
    services: TheServices,
    account: TheAccount,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
) -> Response:
    """A stored response; of a background one also its events, from any number on."""
    run = services.background.find(account.owner, response_id)
    if stream:
        if run is None:
            body = (await _stored(services, account, response_id)).body
            if not body.get("background"):
                raise RequestError(
                    "invalid", "Only a background response can be streamed again.", param="stream"
                )
            return _stream(services, account, _end_of(body, starting_after))
        return _stream(services, account, run.replay(starting_after))
    if run is not None and not run.is_over:
        return json_reply(run.body)
    return json_reply((await _stored(services, account, response_id)).body)


async def delete_response(response_id: str, services: TheServices, account: TheAccount) -> Response:
    """Forget a response; a background one is cancelled first."""
    run = services.background.find(account.owner, response_id)
    if run is not None:
        await run.cancel()
        services.background.forget(response_id)
    if not await services.responses.delete(account.owner, response_id):
        raise _unknown(response_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


async def cancel_response(response_id: str, services: TheServices, account: TheAccount) -> Response:
    """Stop a background response; the model and the snippet end at once."""
    run = services.background.find(account.owner, response_id)
    if run is not None:
        body = await run.cancel()
        if body.get("status") != "cancelled":
            status = body.get("status")
            raise RequestError("invalid", f"The response is {status} and cannot be cancelled.")
        return json_reply(body)
    await _stored(services, account, response_id)
    raise RequestError("invalid", "Only a background response can be cancelled.")


async def input_items(
    response_id: str,
    services: TheServices,
    account: TheAccount,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
) -> Response:
    """The input of a stored response."""
    stored = await _stored(services, account, response_id)
    return json_reply(page(stored.input_items, after=after, limit=limit, order=order))


async def input_tokens(request: Request, services: TheServices, account: TheAccount) -> Response:
    """How many tokens a request would begin with, as the model's own endpoint counts them.

    It is asked for an answer of one token. An endpoint that counts nothing leaves an estimate.
    """
    response_run = await prepared(
        request,
        services,
        account,
        await read_json(request, services.config.server.body_bytes),
        counting=True,
    )
    job = response_run.job

    async def make() -> Response:
        async with aclosing(job.events()) as events:
            async for event in events:
                if isinstance(event, CallRunning):
                    # An endpoint that wrote a whole call all the same: nothing is run here.
                    break
        tokens = job.loop.usage.input_tokens
        body = {"object": "response.input_tokens", "input_tokens": tokens}
        return json_reply(body, headers=account.headers())

    return Answer(make, services.streams, on_close=job.close)


async def compact_response(
    request: Request, services: TheServices, account: TheAccount
) -> Response:
    """A conversation as its questions and one item that stands for the rest."""
    body = await read_json(request, services.config.server.body_bytes)
    referred = await referred_in(services, account, body)
    parsed, options = compaction.parse(body, lookup=referred.get)
    earlier = await earlier_of(services, account, options)
    entries, _ = entries_of(parsed, options, earlier)
    entries = settled(entries, {}, {})
    asked = compaction.asked(entries)
    job = services.job(parsed, account, entries=asked, lease=None, rounds=1)

    async def make() -> Response:
        try:
            ended = await job.finish()
        except (RunnerError, SandboxError) as error:
            return error_reply(request, error)
        if ended.ending == "deadline":
            return error_reply(request, RequestError("deadline", "The time is over."))
        whole = compaction.compacted(
            entries,
            "".join(turn.text for turn in ended.turns),
            response_id=new_id("resp"),
            created_at=int(time.time()),
            new_id=new_id,
            container_id=earlier.container_id or options.replayed_container,
            usage=ended.usage,
        )
        return json_reply(whole, headers=account.headers())

    return Answer(make, services.streams, on_close=job.close)


for _base in BASES:
    _errors = errors_of("openai")
    router.post(f"{_base}/responses/compact", openapi_extra=COMPACT, responses=_errors)(
        compact_response
    )
    router.post(f"{_base}/responses/input_tokens", openapi_extra=RESPONSE, responses=_errors)(
        input_tokens
    )
    _answers = answers_of("openai")
    router.post(f"{_base}/responses", openapi_extra=RESPONSE, responses=_answers)(create_response)
    router.get(f"{_base}/responses/{{response_id}}", responses=_answers)(get_response)
    router.delete(f"{_base}/responses/{{response_id}}", responses=_errors)(delete_response)
    router.post(f"{_base}/responses/{{response_id}}/cancel", responses=_errors)(cancel_response)
    router.get(f"{_base}/responses/{{response_id}}/input_items", responses=_errors)(input_items)


async def _stored(services: Services, account: Account, response_id: str) -> StoredResponse:
    found = await services.responses.get(account.owner, response_id)
    if found is None:
        raise _unknown(response_id)
    return found


def _unknown(response_id: str) -> RequestError:
    return RequestError("not_found", f"Response with id '{response_id[:100]}' not found.")
