"""`POST /run_code`: the judge endpoint of SandboxFusion's clients, behind the server's keys.

These clients send no header of their own. Their HTTP library makes one of the endpoint's address:
`http://any:KEY@127.0.0.1:8000` sends the key as a password, which is as good as a bearer's.
"""

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from runner.errors import RequestError
from runner.evals.run_code import (
    OVERLOADED,
    Overloaded,
    RunCodeRequest,
    RunCodeResponse,
    run_code,
)
from runner.server.http.bodies import read_json_bytes
from runner.server.http.openapi_bodies import errors_of
from runner.server.http.streaming import Answer
from runner.server.live.run_spans import EndedRun
from runner.server.routes.access import TheAccount, TheServices
from sandbox import Outcome

router = APIRouter(responses=errors_of("openai"))
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": RunCodeRequest.model_json_schema()}},
    }
}


@router.post("/run_code", response_model=RunCodeResponse, openapi_extra=BODY)
async def run_code_route(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Run one Python program in a jail of its own."""
    body = await read_json_bytes(request, services.config.server.body_bytes)
    try:
        wanted = RunCodeRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place) from None

    has_ended = False

    def ran(outcome: Outcome) -> None:
        nonlocal has_ended
        has_ended = True
        services.observer.ran(
            outcome, owner=account.owner, via="program", where="", code=wanted.code
        )

    async def make() -> Response:
        try:
            with account.request():
                async with services.slots.for_run(account):
                    answer = await run_code(services.box, wanted, on_end=ran)
            if not has_ended:
                run = EndedRun("failed")
                services.observer.noted(
                    run, owner=account.owner, via="program", where="", code=wanted.code
                )
        except Overloaded as error:
            return _later(str(error), 1.0)
        except RequestError as error:
            if error.fault not in ("rate", "concurrency"):
                raise
            return _later(error.message, error.retry_after_s or 1.0)
        return Response(answer.model_dump_json(), media_type="application/json")

    return Answer(make, services.streams)


def _later(message: str, after_s: float) -> Response:
    """The answer upon which these clients come again: of all refusals they know this one."""
    headers = {"retry-after": str(max(1, round(after_s)))}
    return JSONResponse({"detail": message}, OVERLOADED, headers)
