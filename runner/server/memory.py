"""The ports in memory: complete, and gone when the server stops."""

import asyncio
import mimetypes
import time
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from runner.dialects.asked import ContainerAsked
from runner.errors import RequestError
from runner.server.ids import new_id
from runner.server.ports import (
    Container,
    ContainerFile,
    FileStore,
    Lease,
    StoredFile,
    StoredResponse,
)
from runner.tools.one_session import is_usable
from runner.transcript import MadeFile
from sandbox import Artifact, AsyncSandbox, AsyncSession

RESPONSES_CAP = 10_000
KEPT_FILE_BYTES = 64 * 1024 * 1024
MOUNT = "/mnt/data/"
EXPIRED_WORDS = (
    "The earlier session has ended, and its variables and files with it; this is a new one."
)


class MemoryResponses:
    """Responses in a dictionary; the oldest goes first when there are too many."""

    def __init__(self, cap: int = RESPONSES_CAP) -> None:
        self._cap = cap
        self._responses: dict[tuple[str, str], StoredResponse] = {}

    async def save(self, response: StoredResponse) -> None:
        self._responses.pop((response.owner, response.id), None)
        self._responses[response.owner, response.id] = response
        while len(self._responses) > self._cap:
            del self._responses[next(iter(self._responses))]

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        return self._responses.get((owner, response_id))

    async def delete(self, owner: str, response_id: str) -> bool:
        return self._responses.pop((owner, response_id), None) is not None

    async def item(self, owner: str, item_id: str) -> Mapping[str, JsonValue] | None:
        for (whose, _), response in reversed(self._responses.items()):
            output = response.body.get("output")
            for item in output if whose == owner and isinstance(output, list) else ():
                if isinstance(item, dict) and item.get("id") == item_id:
                    return item
        return None


class MemoryFiles:
    """Files in a dictionary, with a cap of bytes for each owner."""

    def __init__(self, *, stored_bytes: int = 1024 * 1024 * 1024) -> None:
        self._stored_bytes = stored_bytes
        self._files: dict[tuple[str, str], tuple[StoredFile, bytes]] = {}

    async def add(
        self, owner: str, filename: str, data: bytes, *, purpose: str, expires_at: int | None = None
    ) -> StoredFile:
        used = sum(file.size_bytes for file in await self.list(owner))
        if used + len(data) > self._stored_bytes:
            raise RequestError("quota", f"This key may store {self._stored_bytes} bytes of files.")
        file = StoredFile(
            id=new_id("file", "-"),
            owner=owner,
            filename=filename,
            size_bytes=len(data),
            purpose=purpose,
            created_at=int(time.time()),
            expires_at=expires_at,
        )
        self._files[owner, file.id] = (file, data)
        return file

    async def get(self, owner: str, file_id: str) -> StoredFile | None:
        found = self._files.get((owner, file_id))
        return found[0] if found else None

    async def content(self, owner: str, file_id: str) -> bytes | None:
        found = self._files.get((owner, file_id))
        return found[1] if found else None

    async def delete(self, owner: str, file_id: str) -> bool:
        return self._files.pop((owner, file_id), None) is not None

    async def list(self, owner: str) -> Sequence[StoredFile]:
        return [file for (whose, _), (file, _) in self._files.items() if whose == owner]


class _Live:
    """One container while the server runs."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.session: AsyncSession | None = None
        self.had_session = False
        self.files: dict[str, ContainerFile] = {}
        self.pending: list[tuple[str, bytes]] = []
        self.holders = 0
        self.opening = asyncio.Lock()
        self.active_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        return self.holders == 0

    @property
    def is_expired(self) -> bool:
        idle_s = time.monotonic() - self.active_at
        return self.is_idle and idle_s > self.container.idle_minutes * 60

    def touch(self) -> None:
        self.active_at = time.monotonic()
        self.container = self.container.model_copy(update={"last_active_at": int(time.time())})

    def mark(self, status: str) -> None:
        self.container = self.container.model_copy(update={"status": status})


class MemoryContainers:
    """Containers over one sandbox. At most `max_live` have a session; the longest idle one makes
    room for the next."""

    def __init__(
        self,
        box: AsyncSandbox,
        files: FileStore,
        *,
        max_live: int = 60,
        per_owner: int = 32,
        idle_minutes: int = 20,
    ) -> None:
        self._box = box
        self._files = files
        self._max_live = max_live
        self._per_owner = per_owner
        self._idle_minutes = idle_minutes
        self._containers: dict[str, _Live] = {}
        self._changed = asyncio.Condition()

    async def lease(
        self,
        owner: str,
        asked: ContainerAsked,
        *,
        earlier: str = "",
        keep: bool = True,
        file_ids: Sequence[str] = (),
    ) -> Lease:
        await self.sweep()
        live = self._named(owner, asked.id) if asked.id else self._alive(owner, earlier)
        words = ""
        if live is None:
            if earlier and not asked.id:
                words = EXPIRED_WORDS
            live = self._new(owner, asked)
        for file_id in (*asked.file_ids, *file_ids):
            await self._add_file(live, owner, file_id)
        live.holders += 1
        return _MemoryLease(self, live, words=words, keep=keep or bool(asked.id))

    async def sweep(self) -> None:
        """End containers that were idle for too long; forget those that ended long ago."""
        for container_id, live in list(self._containers.items()):
            if live.container.status == "running" and live.is_expired:
                await self._end(live)
            elif live.container.status != "running" and live.is_expired:
                del self._containers[container_id]

    async def close(self) -> None:
        for live in self._containers.values():
            await self._end(live)

    def _named(self, owner: str, container_id: str) -> _Live:
        live = self._containers.get(container_id)
        if live is None or live.container.owner != owner:
            raise RequestError("not_found", "Container not found")
        if live.container.status != "running":
            raise RequestError("invalid", "Container is expired.", param="tools")
        return live

    def _alive(self, owner: str, container_id: str) -> _Live | None:
        live = self._containers.get(container_id)
        if live is None or live.container.owner != owner or live.container.status != "running":
            return None
        return live

    def _new(self, owner: str, asked: ContainerAsked) -> _Live:
        now = int(time.time())
        container = Container(
            id=new_id("cntr"),
            owner=owner,
            name="auto",
            created_at=now,
            last_active_at=now,
            idle_minutes=self._idle_minutes,
            memory_limit=asked.memory_limit or "1g",
        )
        live = self._containers[container.id] = _Live(container)
        return live

    async def _add_file(self, live: _Live, owner: str, file_id: str) -> None:
        file, data = (
            await self._files.get(owner, file_id),
            await self._files.content(owner, file_id),
        )
        if file is None or data is None:
            message = f"No such File object: {file_id[:64]}"
            raise RequestError("not_found", message, param="file_ids")
        if any(one.path == file.filename for one in live.files.values()):
            return
        self._note(live, file.filename, len(data), source="user")
        live.pending.append((file.filename, data))

    async def open(self, live: _Live) -> AsyncSession:
        """The live session of the container."""
        async with live.opening:
            if live.session is None:
                await self._make_room(live)
                live.session = await self._box.session()
                live.had_session = True
            while live.pending:
                path, data = live.pending.pop(0)
                await live.session.put(path, data)
            live.touch()
            return live.session

    async def forget(self, live: _Live) -> None:
        """The session broke; the next call gets a new one."""
        session, live.session = live.session, None
        if session is not None:
            await session.close()

    async def _make_room(self, asking: _Live) -> None:
        async with self._changed:
            while True:
                holding = [one for one in self._containers.values() if one.session is not None]
                own = [one for one in holding if one.container.owner == asking.container.owner]
                crowd = own if len(own) >= self._per_owner else holding
                if len(crowd) < (self._per_owner if crowd is own else self._max_live):
                    return
                idle = [one for one in crowd if one.is_idle]
                if idle:
                    await self._end(min(idle, key=lambda one: one.active_at))
                else:
                    await self._changed.wait()

    async def _end(self, live: _Live) -> None:
        live.mark("expired")
        live.pending.clear()
        live.files.clear()
        await self.forget(live)

    async def give_back(self, live: _Live, *, keep: bool) -> None:
        """A request let go of the container."""
        live.holders -= 1
        live.touch()
        if live.is_idle and not (keep and live.had_session):
            await self._end(live)
            self._containers.pop(live.container.id, None)
        async with self._changed:
            self._changed.notify_all()

    async def keep(
        self, live: _Live, session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        """Note files that code made; their bytes stay in the workspace."""
        made = []
        for artifact in artifacts:
            if artifact.change == "deleted":
                continue
            known = next((one for one in live.files.values() if one.path == artifact.path), None)
            if known is not None:
                del live.files[known.id]
            file = self._note(live, artifact.path, artifact.size_bytes, source="assistant")
            made.append(
                MadeFile(
                    path=artifact.path,
                    size_bytes=artifact.size_bytes,
                    mime=artifact.mime,
                    file_id=file.id,
                )
            )
        return tuple(made)

    def _note(self, live: _Live, path: str, size: int, *, source: str) -> ContainerFile:
        file = ContainerFile.model_validate(
            {
                "id": new_id("cfile"),
                "container_id": live.container.id,
                "path": path,
                "size_bytes": size,
                "mime": mimetypes.guess_type(path)[0] or "application/octet-stream",
                "created_at": int(time.time()),
                "source": source,
            }
        )
        live.files[file.id] = file
        return file


class _MemoryLease:
    def __init__(self, owner: MemoryContainers, live: _Live, *, words: str, keep: bool) -> None:
        self._owner = owner
        self._live = live
        self._words = words
        self._keep = keep
        self._is_released = False

    @property
    def container_id(self) -> str:
        return self._live.container.id

    async def session(self) -> tuple[AsyncSession, str]:
        session = await self._owner.open(self._live)
        if not is_usable(session):
            await self._owner.forget(self._live)
            self._words = EXPIRED_WORDS
            session = await self._owner.open(self._live)
        words, self._words = self._words, ""
        return session, words

    async def keep(
        self, session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        return await self._owner.keep(self._live, session, artifacts)

    async def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            await asyncio.shield(self._owner.give_back(self._live, keep=self._keep))
