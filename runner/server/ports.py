"""What the server keeps: the ports of stored responses, containers and files.

Every call names its owner, and nobody sees what another owner has: an id of somebody else is as
unknown as one that never was. Unknown ids raise RequestError.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from pydantic import Field, JsonValue

from runner.dialects.asked import ContainerAsked
from runner.tools.code_interpreter import SessionSource
from runner.transcript import Record, Transcript

# ---- responses ----------------------------------------------------------------------------------


class StoredResponse(Record):
    """A response that can be fetched and gone on from."""

    id: str
    owner: str
    created_at: int
    body: Mapping[str, JsonValue]
    """The response object as the client saw it last."""
    input_items: tuple[Mapping[str, JsonValue], ...] = ()
    transcript: Transcript = ()
    """The conversation up to its answer, without the instructions of the request."""
    container_id: str = ""


class ResponseStore(Protocol):
    """Responses by id."""

    async def save(self, response: StoredResponse) -> None:
        """Keep `response`, in place of an earlier state of it. Raises RequestError (quota)."""
        ...

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """The response, or None."""
        ...

    async def delete(self, owner: str, response_id: str) -> bool:
        """Forget the response; whether there was one."""
        ...

    async def item(self, owner: str, item_id: str) -> Mapping[str, JsonValue] | None:
        """The output item `item_id` of any stored response of the owner."""
        ...


# ---- files --------------------------------------------------------------------------------------


class StoredFile(Record):
    """An uploaded file; its bytes come by `content`."""

    id: str
    owner: str
    filename: str
    size_bytes: int
    purpose: str
    created_at: int
    expires_at: int | None = None


class FileStore(Protocol):
    """Uploaded files by id."""

    async def add(
        self, owner: str, filename: str, data: bytes, *, purpose: str, expires_at: int | None = None
    ) -> StoredFile:
        """Keep a new file. Raises RequestError (quota)."""
        ...

    async def get(self, owner: str, file_id: str) -> StoredFile | None: ...

    async def content(self, owner: str, file_id: str) -> bytes | None: ...

    async def delete(self, owner: str, file_id: str) -> bool: ...

    async def list(self, owner: str) -> Sequence[StoredFile]:
        """All files of the owner, oldest first."""
        ...


# ---- containers ---------------------------------------------------------------------------------

ContainerStatus = Literal["running", "expired", "deleted"]


class ContainerFile(Record):
    """A file of a container: uploaded, or made by code."""

    id: str
    container_id: str
    path: str
    """From the root of the workspace."""
    size_bytes: int
    mime: str = "application/octet-stream"
    created_at: int
    source: Literal["user", "assistant"]


class Container(Record):
    """A container as its owner sees it."""

    id: str
    owner: str
    name: str
    created_at: int
    last_active_at: int
    idle_minutes: int = Field(ge=1)
    memory_limit: str = "1g"
    status: ContainerStatus = "running"


class Lease(SessionSource, Protocol):
    """A request's hold on a container: it does not expire while it is held."""

    async def release(self) -> None:
        """The request is over. An unnamed container of a request that is not stored ends."""
        ...


class Containers(Protocol):
    """Containers by id, each with at most one live session of the engine."""

    async def lease(
        self,
        owner: str,
        asked: ContainerAsked,
        *,
        earlier: str = "",
        keep: bool = True,
        file_ids: Sequence[str] = (),
    ) -> Lease:
        """A hold on the container that is asked for.

        With an id, that one; else `earlier` while it lives; else a new one. `keep` says whether
        it outlives the request. `file_ids` are put into it before the first snippet. Raises
        RequestError when a named one is unknown or expired, or a file is unknown.
        """
        ...

    async def sweep(self) -> None:
        """End containers that were idle for too long."""
        ...

    async def close(self) -> None:
        """End every session."""
        ...
