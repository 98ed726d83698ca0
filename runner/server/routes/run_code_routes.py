"""`POST /run_code` and `/run_jupyter`: the endpoints of SandboxFusion's clients, behind keys.

These clients send no header of their own. Their HTTP library makes one of the endpoint's address:
`http://any:KEY@127.0.0.1:8000` sends the key as a password, which is as good as a bearer's.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from runner.errors import RequestError
from runner.evals.run_code import OVERLOADED, PONG, run_code
from runner.evals.run_code_wire import (
    Answered,
    Asked,
    Overloaded,
    RunCodeRequest,
    RunCodeResponse,
    RunJupyterRequest,
    RunJupyterResponse,
)
from runner.evals.run_jupyter import run_jupyter
from runner.server.accounts import Account
from runner.server.http.bodies import read_json_bytes
from runner.server.http.openapi_bodies import OpenApi, errors_of
from runner.server.http.replies import LongReply
from runner.server.http.streaming import Answer
from runner.server.live.run_spans import EndedRun
from runner.server.routes.access import TheAccount, TheServices
from runner.server.services import Services
from sandbox import ExecResult, Outcome

router = APIRouter(responses=errors_of("openai"))
T = TypeVar("T", bound=Asked)


def _body(kind: type[Asked]) -> OpenApi:
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("/run_code", response_model=RunCodeResponse, openapi_extra=_body(RunCodeRequest))
async def run_code_route(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Run one program, Python, pytest or shell, in a jail of its own."""
    wanted = await _wanted(RunCodeRequest, request, services)
    work = _counted(services, account, wanted.code, partial(run_code, services.box, wanted))
    return Answer(work, services.streams)


@router.post(
    "/run_jupyter", response_model=RunJupyterResponse, openapi_extra=_body(RunJupyterRequest)
)
async def run_jupyter_route(
    request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Run cells one after the other in a jail of their own."""
    wanted = await _wanted(RunJupyterRequest, request, services)
    code = "\n\n".join(wanted.cells)
    work = _counted(services, account, code, partial(run_jupyter, services.box, wanted))
    return Answer(work, services.streams)


@router.get("/v1/ping", responses={200: {"content": {"application/json": {}}}})
async def ping() -> Response:
    """Say that the server answers; it needs no key, as with the original."""
    return JSONResponse(PONG)


async def _wanted(kind: type[T], request: Request, services: Services) -> T:
    body = await read_json_bytes(request, services.config.server.body_bytes)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place) from None


def _counted(
    services: Services, account: Account, whole: str, work: Callable[..., Awaitable[Answered]]
) -> Callable[[], Coroutine[None, None, Response]]:
    """`work` with a slot of the key's; each piece of code that it runs is written down."""
    has_ended = False

    def ended(code: str, end: Outcome | ExecResult) -> None:
        nonlocal has_ended
        has_ended = True
        if isinstance(end, ExecResult):
            services.observer.commanded(end, owner=account.owner, where="", command=code)
        else:
            services.observer.ran(end, owner=account.owner, via="program", where="", code=code)

    async def make() -> Response:
        try:
            with account.request():
                async with services.slots.for_run(account):
                    answer = await work(on_end=ended)
            if not has_ended:
                run = EndedRun("failed")
                services.observer.noted(
                    run, owner=account.owner, via="program", where="", code=whole
                )
        except Overloaded as error:
            return _later(str(error), 1.0)
        except RequestError as error:
            if error.fault not in ("rate", "concurrency"):
                raise
            return _later(error.message, error.retry_after_s or 1.0)
        return LongReply(answer.json_parts())

    return make


def _later(message: str, after_s: float) -> Response:
    """The answer upon which these clients come again: of all refusals they know this one."""
    headers = {"retry-after": str(max(1, round(after_s)))}
    return JSONResponse({"detail": message}, OVERLOADED, headers)
