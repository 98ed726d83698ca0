"""Routes of uploaded files, as OpenAI shapes them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import JsonValue
from starlette.responses import Response

from runner.errors import RequestError
from runner.server.http.downloads import content_reply
from runner.server.http.openapi_bodies import BYTES, FILE_BODY, LEAST_S, MOST_S, PURPOSES, errors_of
from runner.server.http.paging import cursor, page_json
from runner.server.http.replies import json_reply
from runner.server.http.uploads import Upload, upload
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import BASES
from runner.server.services import Services
from runner.server.store.records import Order, StoredFile

router = APIRouter()


async def create_file(request: Request, services: TheServices, account: TheAccount) -> Response:
    """Keep an uploaded file."""
    with account.request():
        async with upload(
            request, services.storage.blobs, services.config.server.file_bytes
        ) as sent:
            file = await services.files.add(
                account.owner,
                sent.filename,
                sent.writer,
                purpose=_purpose(sent),
                expires_in_s=_expires_in_s(sent),
                cap_bytes=account.settings.stored_bytes,
            )
    return json_reply(file_json(file), headers=account.headers())


async def list_files(
    services: TheServices,
    account: TheAccount,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
) -> Response:
    """List the key's files."""
    found = await services.files.page(
        account.owner, purpose=purpose, after=cursor(after), limit=limit, order=order
    )
    rows = [file_json(file) for file in found.rows]
    return json_reply(page_json(rows, has_more=found.has_more))


async def get_file(file_id: str, services: TheServices, account: TheAccount) -> Response:
    """Return one file."""
    return json_reply(file_json(await _file(services, account.owner, file_id)))


async def get_content(file_id: str, services: TheServices, account: TheAccount) -> Response:
    """Return the bytes of a file."""
    return await content_reply(
        services.storage.blobs, await _file(services, account.owner, file_id)
    )


async def delete_file(file_id: str, services: TheServices, account: TheAccount) -> Response:
    """Forget a file. Copies of it in containers stay."""
    if not await services.files.delete(account.owner, file_id):
        raise _unknown(file_id)
    return json_reply({"id": file_id, "object": "file", "deleted": True})


for _base in BASES:
    _errors, _path = errors_of("openai"), f"{_base}/files"
    router.post(_path, openapi_extra=FILE_BODY, responses=_errors)(create_file)
    router.get(_path, responses=_errors)(list_files)
    router.get(f"{_path}/{{file_id}}", responses=_errors)(get_file)
    router.get(
        f"{_path}/{{file_id}}/content", responses={**_errors, **BYTES}, response_class=Response
    )(get_content)
    router.delete(f"{_path}/{{file_id}}", responses=_errors)(delete_file)


def file_json(file: StoredFile) -> dict[str, object]:
    """Return a file as the clients read it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


async def _file(services: Services, owner: str, file_id: str) -> StoredFile:
    file = await services.files.get(owner, file_id)
    if file is None:
        raise _unknown(file_id)
    return file


def _unknown(file_id: str) -> RequestError:
    return RequestError("not_found", f"No such File object: {file_id[:64]}", param="id")


def _purpose(sent: Upload) -> str:
    purpose = sent.fields.get("purpose", "")
    if purpose not in PURPOSES:
        known = ", ".join(PURPOSES)
        raise RequestError("invalid", f"purpose must be one of {known}.", param="purpose")
    return purpose


def _expires_in_s(sent: Upload) -> int | None:
    anchor = sent.fields.get("expires_after[anchor]")
    seconds = sent.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        message = "expires_after[anchor] must be created_at."
        raise RequestError("invalid", message, param="expires_after[anchor]")
    value: JsonValue = int(seconds) if seconds and seconds.isascii() and seconds.isdigit() else None
    if not isinstance(value, int) or not LEAST_S <= value <= MOST_S:
        message = f"expires_after[seconds] must be from {LEAST_S} to {MOST_S}."
        raise RequestError("invalid", message, param="expires_after[seconds]")
    return value
