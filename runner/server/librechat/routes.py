"""`/librechat`: run programs, upload files, list them and fetch them.

Source: the package @librechat/agents 3.9.2, `src/tools/CodeExecutor.ts` and
`ProgrammaticToolCalling.ts`. `LIBRECHAT_CODE_BASEURL` is this server's address with `/librechat`.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.http.bodies import read_json_bytes
from runner.server.http.downloads import content_reply
from runner.server.http.replies import json_reply
from runner.server.http.streaming import Answer
from runner.server.http.uploads import safe_name, upload
from runner.server.librechat.access import TheOwner
from runner.server.librechat.forms import read_files
from runner.server.librechat.programmatic import ProgramRequest, Programs
from runner.server.librechat.runs import ExecRequest, execute, file_ref, new_storage
from runner.server.routes.access import TheServices
from runner.server.services import Services
from runner.server.store.records import ContainerFile

TOO_MANY = 429
T = TypeVar("T", bound=BaseModel)


class Route(APIRoute):
    """A route whose refusals for haste are worded so that the client reads how long to wait."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler that the application calls."""
        answer = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestError as error:
                if error.fault not in ("rate", "concurrency"):
                    raise
                return later(error)

        return handled


router = APIRouter(prefix="/librechat", route_class=Route, include_in_schema=False)


@router.post("/exec")
async def run(request: Request, services: TheServices, account: TheOwner) -> Response:
    """Run a program in a session of its own, with files of earlier ones."""
    wanted = await _wanted(ExecRequest, request, services)
    return _answer(services, account, lambda: execute(services, account, wanted))


@router.post("/exec/programmatic")
async def run_with_tools(request: Request, services: TheServices, account: TheOwner) -> Response:
    """Run a program up to its next calls of the client's tools, or to its end."""
    programs = request.app.state.librechat
    assert isinstance(programs, Programs)
    wanted = await _wanted(ProgramRequest, request, services)
    return _answer(services, account, lambda: programs.answer(services, account, wanted))


async def _wanted(kind: type[T], request: Request, services: Services) -> T:
    body = await read_json_bytes(request, services.config.server.body_bytes)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise RequestError("invalid", f"{place}: {first['msg']}.", param=place) from None


def _answer(
    services: Services, account: Account, work: Callable[[], Awaitable[Mapping[str, object]]]
) -> Response:
    async def make() -> Response:
        try:
            with account.request():
                return json_reply(await work())
        except RequestError as error:
            if error.fault not in ("rate", "concurrency"):
                raise
            return later(error)

    return Answer(make, services.streams)


@router.post("/upload")
async def upload_one(request: Request, services: TheServices, account: TheOwner) -> Response:
    """Keep a file for the runs to come."""
    cap_bytes = services.config.server.file_bytes
    with account.request():
        async with upload(request, services.storage.blobs, cap_bytes) as sent:
            row = await new_storage(services, account)
            file = await services.containers.upload(account, row, sent.filename, sent.writer)
    return json_reply(_uploaded(row.id, [file]))


@router.post("/upload/batch")
async def upload_many(request: Request, services: TheServices, account: TheOwner) -> Response:
    """Keep several files."""
    with account.request():
        sent = await read_files(request, services.config.server.file_bytes)
        names = [safe_name(one.filename) for one in sent]
        row, kept = await new_storage(services, account), []
        for name, one in zip(names, sent, strict=True):
            kept.append(
                await services.container_store.write(
                    row, name, one.data, "user", cap_bytes=account.settings.stored_bytes
                )
            )
    return json_reply(_uploaded(row.id, kept))


@router.get("/files/{storage_id}")
async def list_files(storage_id: str, services: TheServices, account: TheOwner) -> Response:
    """List the files of one storage session."""
    row = await services.containers.find(account.owner, storage_id)
    files = await services.container_store.files(row.id)
    return JSONResponse([_listed(file) for file in files])


@router.get("/download/{storage_id}/{file_id}")
async def download(
    storage_id: str, file_id: str, services: TheServices, account: TheOwner
) -> Response:
    """Return the bytes of a file."""
    file = await services.container_store.file(account.owner, storage_id, file_id)
    if file is None:
        raise RequestError("not_found", f"There is no file {file_id[:100]!r}.")
    return await content_reply(services.storage.blobs, file)


def later(error: RequestError) -> Response:
    """A refusal that says when to come again."""
    wait_s = max(1, math.ceil(error.retry_after_s or 1.0))
    body = {"error": "rate_limited", "retry_after_seconds": wait_s, "message": error.message}
    return JSONResponse(body, TOO_MANY, {"retry-after": str(wait_s)})


def _uploaded(storage_id: str, files: list[ContainerFile]) -> dict[str, object]:
    told = [{"fileId": file.id, "filename": file.path} for file in files]
    return {
        "message": "success",
        "storage_session_id": storage_id,
        "session_id": storage_id,
        "files": told,
    }


def _listed(file: ContainerFile) -> dict[str, object]:
    more = {
        "size": file.size_bytes,
        "contentType": file.mime,
        "metadata": {"original-filename": file.path},
    }
    return file_ref(file) | more
