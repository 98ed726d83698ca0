"""State of sessions over REST: variables, checkpoint, roll back, fork, interrupt."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import JsonValue
from starlette.responses import Response

from runner.dialects.faults import session_fault
from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import json_reply
from runner.server.live.session_table import Held
from runner.server.live.variables import variables_of
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.session_routes import lost
from runner.server.services import Services
from sandbox import Checkpoint, CheckpointDropped, CopyRefused, SessionError

NAME_CHARS = 200
BODY_BYTES = 4096
FORKS_MOST = 8
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))
T = TypeVar("T")


def _body(**properties: JsonValue) -> OpenApi:
    schema: dict[str, JsonValue] = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


NAMED = _body(name={"type": ["string", "null"], "maxLength": NAME_CHARS})
CHOSEN = _body(checkpoint={"type": "integer", "minimum": 0})
COUNTED = _body(n={"type": ["integer", "null"], "minimum": 1, "maximum": FORKS_MOST})


@router.get("/{session_id}/variables")
async def list_variables(session_id: str, services: TheServices, account: TheAccount) -> Response:
    """The session's variables: name, type, shape, size and the beginning of each."""
    held = services.sessions.find(account.owner, session_id)
    found = await _done(services, held, account, lambda: variables_of(held.session))
    data = [one.model_dump(mode="json") for one in found]
    return json_reply({"object": "list", "data": data})


@router.post("/{session_id}/checkpoint", openapi_extra=NAMED)
async def make_checkpoint(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Keep the variables as they are now, to roll back to."""
    held = services.sessions.find(account.owner, session_id)
    body = Fields(await read_json(request, BODY_BYTES))
    name = body.text("name", longest=NAME_CHARS)
    made = await _done(services, held, account, lambda: held.session.checkpoint(name))
    return json_reply(checkpoint_json(made), headers=account.headers())


@router.get("/{session_id}/checkpoints")
async def list_checkpoints(session_id: str, services: TheServices, account: TheAccount) -> Response:
    """The checkpoints that can be rolled back to, oldest first, with the memory of each."""
    held = services.sessions.find(account.owner, session_id)
    found = await _done(services, held, account, held.session.checkpoints)
    data = [
        {**checkpoint_json(one.checkpoint), "private_bytes": one.private_bytes} for one in found
    ]
    return json_reply({"object": "list", "data": data})


@router.delete("/{session_id}/checkpoints/{checkpoint_id}")
async def drop_checkpoint(
    session_id: str, checkpoint_id: int, services: TheServices, account: TheAccount
) -> Response:
    """Let go of a checkpoint and the memory that it holds; it need not be there."""
    held = services.sessions.find(account.owner, session_id)

    async def let_go() -> None:
        for one in await held.session.checkpoints():
            if one.checkpoint.id == checkpoint_id:
                await held.session.drop(one.checkpoint)

    await _done(services, held, account, let_go)
    data = {"id": checkpoint_id, "object": "session.checkpoint.deleted", "deleted": True}
    return json_reply(data)


@router.post("/{session_id}/rollback", openapi_extra=CHOSEN)
async def roll_back(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Put the variables back to what they were at a checkpoint, which stays."""
    held = services.sessions.find(account.owner, session_id)
    body = Fields(await read_json(request, BODY_BYTES))
    wanted = body.whole("checkpoint")
    if wanted is None:
        raise body.wrong("checkpoint", "must be the id of a checkpoint")

    async def go_back() -> Checkpoint:
        for one in await held.session.checkpoints():
            if one.checkpoint.id == wanted:
                await held.session.rollback(one.checkpoint)
                return one.checkpoint
        message = f"The session has no checkpoint {wanted}."
        raise RequestError("not_found", message, param="checkpoint")

    return json_reply(checkpoint_json(await _done(services, held, account, go_back)))


@router.post("/{session_id}/fork", openapi_extra=COUNTED)
async def fork_session(
    session_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Sessions that go on from here by themselves, each with a copy of variables and files.

    Without `n` the answer is the one session, with it a list of as many.
    """
    held = services.sessions.find(account.owner, session_id)
    body = Fields(await read_json(request, BODY_BYTES))
    count = body.whole("n", least=1, most=FORKS_MOST)
    made = await _done(
        services, held, account, lambda: services.sessions.branch(held, account, count or 1)
    )
    if count is None:
        return json_reply(made[0].json(), headers=account.headers())
    data = [one.json() for one in made]
    return json_reply({"object": "list", "data": data}, headers=account.headers())


@router.post("/{session_id}/interrupt")
async def interrupt_session(
    session_id: str, services: TheServices, account: TheAccount
) -> Response:
    """End the snippet that runs now, if there is one: its own request gives its outcome."""
    held = services.sessions.find(account.owner, session_id)
    held.session.interrupt()
    return json_reply({"id": held.id, "object": "session.interrupted"})


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, object]:
    """A checkpoint as its owner sees it."""
    return {
        "id": checkpoint.id,
        "object": "session.checkpoint",
        "name": checkpoint.name,
        "snippet": checkpoint.snippet,
        "made_at": checkpoint.made_at,
    }


async def _done(
    services: Services, held: Held, account: Account, work: Callable[[], Awaitable[T]]
) -> T:
    """What `work` gives, as one of the key's requests. Raises RequestError."""
    with account.request():
        held.running += 1
        try:
            return await work()
        except (CopyRefused, CheckpointDropped) as error:
            raise RequestError(session_fault(error), str(error)) from error
        except SessionError as error:
            raise await lost(services.sessions, held, error) from error
        finally:
            held.running -= 1
