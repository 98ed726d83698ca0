"""Routes of containers and of the files in them, as OpenAI shapes them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from runner.dialects.containers import check_network
from runner.dialects.fields import Fields
from runner.errors import RequestError
from runner.server.http.bodies import read_json
from runner.server.http.downloads import content_reply
from runner.server.http.openapi_bodies import (
    BYTES,
    CONTAINER_BODY,
    CONTAINER_FILE_BODY,
    IDLE_MINUTES_MOST,
    NAME_CHARS,
    errors_of,
)
from runner.server.http.paging import cursor, page_json
from runner.server.http.replies import json_reply
from runner.server.http.uploads import upload
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import BASES
from runner.server.services import Services
from runner.server.store.records import ContainerFile, Order

MOUNT = "/mnt/data/"
router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=100)]


async def create_container(
    request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Make a new container. Its session begins with its first snippet."""
    body = Fields(await read_json(request, services.config.server.body_bytes))
    name = body.text("name", longest=NAME_CHARS)
    if not name:
        raise body.wrong("name", "must be a non-empty string")
    check_network(body)
    if body.items("skills"):
        raise body.wrong("skills", "are not known to this server")
    row = await services.containers.create(
        account,
        name=name,
        idle_minutes=_idle_minutes(body),
        memory_limit=body.text("memory_limit") or "",
        file_ids=body.strings("file_ids"),
    )
    return json_reply(services.containers.json(row), headers=account.headers())


async def list_containers(
    services: TheServices,
    account: TheAccount,
    name: str | None = None,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "desc",
) -> Response:
    """List the key's containers, the expired ones too while their files are kept."""
    found = await services.container_store.page(
        account.owner, name=name, after=cursor(after), limit=limit, order=order
    )
    rows = [services.containers.json(services.containers.newest(row)) for row in found.rows]
    return json_reply(page_json(rows, has_more=found.has_more))


async def get_container(container_id: str, services: TheServices, account: TheAccount) -> Response:
    """Return one container; asking for it counts as use."""
    return json_reply(
        services.containers.json(await services.containers.use(account.owner, container_id))
    )


async def delete_container(
    container_id: str, services: TheServices, account: TheAccount
) -> Response:
    """End a container, and forget its files."""
    await services.containers.delete(await services.containers.find(account.owner, container_id))
    return json_reply({"id": container_id, "object": "container.deleted", "deleted": True})


async def create_file(
    container_id: str, request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Put a file into a container: the one in the body, or an uploaded one by its id."""
    row = await services.containers.find(account.owner, container_id)
    with account.request():
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            cap_bytes = services.config.server.file_bytes
            async with upload(request, services.storage.blobs, cap_bytes) as sent:
                file = await services.containers.upload(account, row, sent.filename, sent.writer)
        else:
            body = Fields(await read_json(request, services.config.server.body_bytes))
            file_id = body.text("file_id")
            if not file_id:
                raise body.wrong("file_id", "must be the id of an uploaded file")
            file = await services.containers.copy(account, row, file_id)
    return json_reply(file_json(file), headers=account.headers())


async def list_files(
    container_id: str,
    services: TheServices,
    account: TheAccount,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "desc",
) -> Response:
    """List the files of a container."""
    row = await services.containers.find(account.owner, container_id)
    found = await services.container_store.file_page(
        row.id, after=cursor(after), limit=limit, order=order
    )
    rows = [file_json(file) for file in found.rows]
    return json_reply(page_json(rows, has_more=found.has_more))


async def get_file(
    container_id: str, file_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Return one file of a container."""
    return json_reply(file_json(await _file(services, account.owner, container_id, file_id)))


async def get_content(
    container_id: str, file_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Return the bytes of a file of a container, as it was after the last snippet."""
    file = await _file(services, account.owner, container_id, file_id)
    return await content_reply(services.storage.blobs, file)


async def delete_file(
    container_id: str, file_id: str, services: TheServices, account: TheAccount
) -> Response:
    """Take a file out of a container."""
    file = await _file(services, account.owner, container_id, file_id)
    await services.containers.remove(
        await services.containers.find(account.owner, container_id), file
    )
    return json_reply({"id": file_id, "object": "container.file.deleted", "deleted": True})


for _base in BASES:
    _errors, _path = errors_of("openai"), f"{_base}/containers"
    router.post(_path, openapi_extra=CONTAINER_BODY, responses=_errors)(create_container)
    router.get(_path, responses=_errors)(list_containers)
    _path = f"{_path}/{{container_id}}"
    router.get(_path, responses=_errors)(get_container)
    router.delete(_path, responses=_errors)(delete_container)
    _path = f"{_path}/files"
    router.post(_path, openapi_extra=CONTAINER_FILE_BODY, responses=_errors)(create_file)
    router.get(_path, responses=_errors)(list_files)
    _path = f"{_path}/{{file_id}}"
    router.get(_path, responses=_errors)(get_file)
    router.get(f"{_path}/content", responses={**_errors, **BYTES}, response_class=Response)(
        get_content
    )
    router.delete(_path, responses=_errors)(delete_file)


def file_json(file: ContainerFile) -> dict[str, object]:
    """Return a file of a container as the clients read it."""
    return {
        "id": file.id,
        "object": "container.file",
        "created_at": file.created_at,
        "bytes": file.size_bytes,
        "container_id": file.container_id,
        "path": f"{MOUNT}{file.path}",
        "source": file.source,
    }


async def _file(services: Services, owner: str, container_id: str, file_id: str) -> ContainerFile:
    row = await services.containers.find(owner, container_id)
    file = await services.container_store.file(owner, row.id, file_id)
    if file is None:
        raise RequestError("not_found", "Container file not found")
    return file


def _idle_minutes(body: Fields) -> int | None:
    expiry = body.object("expires_after")
    if expiry is None:
        return None
    if expiry.text("anchor") != "last_active_at":
        raise expiry.wrong("anchor", "must be last_active_at")
    minutes = expiry.whole("minutes", least=1, most=IDLE_MINUTES_MOST)
    if minutes is None:
        raise expiry.wrong("minutes", "must be an integer")
    return minutes
