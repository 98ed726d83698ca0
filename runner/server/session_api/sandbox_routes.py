"""`/v1/sandbox`: what holds for every session of this server, and what clients expect of it."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import errors_of
from runner.server.http.replies import json_reply
from runner.server.routes.access import TheAccount, TheServices
from runner.server.session_api.checked import body_of, checked
from runner.server.session_api.expectations import Expectations

EXPECTED_MOST = 2**31
BODY_BYTES = 4096
router = APIRouter(prefix="/v1/sandbox", responses=errors_of("openai"))


class ExpectedRequest(BaseModel):
    """How many sessions a box will likely open soon. It lapses unless it is told again."""

    model_config = ConfigDict(extra="forbid")
    box: str = Field(min_length=1, max_length=64)
    sessions: int = Field(ge=0, le=EXPECTED_MOST)


@router.get("")
async def get_sandbox(services: TheServices, account: TheAccount) -> Response:
    """Return the policy of every session. The values of its secrets are not in it."""
    policy = services.box.policy.model_dump(mode="json")
    return json_reply({"object": "sandbox", "policy": policy}, headers=account.headers())


@router.put("/expected", openapi_extra=body_of(ExpectedRequest))
async def put_expected(request: Request, account: TheAccount) -> Response:
    """Keep so many more workers warm for a box, as many at most as its key may have sessions."""
    wanted = checked(ExpectedRequest, await read_json(request, BODY_BYTES))
    expectations: Expectations = request.app.state.expectations
    kept = expectations.tell(account, wanted.box, wanted.sessions)
    return json_reply({"object": "sandbox.expected", "box": wanted.box, "sessions": kept})
