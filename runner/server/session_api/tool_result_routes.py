"""Answers of a client to the calls of its functions, which a run's events have told of."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import errors_of
from runner.server.http.replies import json_reply
from runner.server.live.tool_relay import CallResult
from runner.server.routes.access import TheCaller, TheServices
from runner.server.session_api.checked import body_of, checked

RESULTS_CAP = 100
router = APIRouter(prefix="/v1/sessions", responses=errors_of("openai"))


class ToolResults(BaseModel):
    """Answers to calls, in any order; a call is answered once."""

    model_config = ConfigDict(extra="forbid")
    results: list[CallResult] = Field(min_length=1, max_length=RESULTS_CAP)


@router.post("/{session_id}/tool_results", openapi_extra=body_of(ToolResults))
async def answer_calls(
    session_id: str, request: Request, services: TheServices, account: TheCaller
) -> Response:
    """Answer calls of the client's functions: a result, or the type and message of an error.

    Answers to calls that wait do not count towards the key's requests a minute.
    """
    held = services.sessions.find(account.owner, session_id)
    body = await read_json(request, services.config.server.body_bytes)
    wanted = checked(ToolResults, body)
    awaited = services.sessions.awaited
    if not all(awaited.has(account.owner, held.id, one.call_id) for one in wanted.results):
        account.charge()
    for one in wanted.results:
        awaited.answer(account.owner, held.id, one)
    data = [one.call_id for one in wanted.results]
    return json_reply({"object": "session.tool_results", "call_ids": data})
