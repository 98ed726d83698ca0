"""CopyReady copies of a session's process: what checkpoints, rollback and survival are made of.

A copy is a fork that waits on a channel of its own. It shares every page that neither side has
changed since, and costs nothing while it waits.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from sandbox.errors import (
    CheckpointDropped,
    CopyRefused,
    EngineTimeout,
    SandboxError,
    SessionLost,
)
from sandbox.processes.host_channel import HostChannel
from sandbox.processes.meter import private_bytes
from sandbox.processes.worker import Worker
from sandbox.processes.worker_state import Event
from sandbox.protocol.messages import CopyResult, ForkCopy, Measure, Measured

COPY_WITHIN_S = 10.0
EXIT_WITHIN_S = 2.0
NONCE = "copy"


T = TypeVar("T")


async def to_its_end(work: Coroutine[object, object, T]) -> T:
    """The result of `work`, which a cancelled caller waits for before it is told.

    Half way, the answer of a session's process would be on its way and nobody there to take it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


@dataclass(frozen=True)
class Checkpoint:
    """A handle to the variables of a session at one moment; of use in that session only."""

    id: int
    name: str | None
    snippet: int
    """How many snippets the session had run."""
    made_at: float = field(default_factory=time.time)
    """Seconds since the epoch."""


@dataclass(frozen=True)
class CheckpointState:
    """A checkpoint and the memory that it holds alone."""

    checkpoint: Checkpoint
    private_bytes: int


class Checkpoints:
    """The checkpoints of one session, oldest first, within bounds."""

    def __init__(self, worker: Worker, *, most: int, bytes_cap: int) -> None:
        self._worker = worker
        self._most = most
        self._bytes_cap = bytes_cap
        self._ids = 0
        self._kept: dict[int, tuple[Checkpoint, HostChannel]] = {}
        self._dropped: dict[int, str] = {}
        self._renewal: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int]:
        """Pids of the copies, for a kill to spare."""
        return [
            channel.copy_pid for _checkpoint, channel in self._kept.values() if channel.copy_pid
        ]

    async def add(self, name: str | None, snippet: int) -> Checkpoint:
        """Copy the session process as it is. Raises CopyRefused if a copy would not be faithful."""
        self._make_room(len(self._kept) + 1)
        channel = await self.copy(self._worker.guest)
        self._ids += 1
        checkpoint = Checkpoint(self._ids, name, snippet)
        self._kept[checkpoint.id] = (checkpoint, channel)
        await self._keep_within_bounds()
        return checkpoint

    async def list(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first."""
        return [
            CheckpointState(checkpoint, await self._private_bytes(channel))
            for checkpoint, channel in list(self._kept.values())
        ]

    async def restore(self, checkpoint: Checkpoint) -> None:
        """Make the variables of `checkpoint` those of the session; the checkpoint itself stays.

        The copy becomes the session, and is copied anew while the caller goes on: `settle`.
        Everything else of the session is ended: its process and what that had started. Raises
        CheckpointDropped, SessionLost.
        """
        worker = self._worker
        source = self._channel_of(checkpoint)
        assert source.copy_pid is not None
        ended = asyncio.Event()
        worker.on_fault = lambda _said: None  # Its process is about to end, by order.
        worker.on_exit = lambda _status: ended.set()
        worker.on_gone = ended.set
        worker.happen(Event.LOSE)
        worker.kill_snippet(self.pids)
        try:
            async with asyncio.timeout(EXIT_WITHIN_S):
                await ended.wait()
                await worker.killed()
        except TimeoutError:
            worker.kill()
        if not worker.is_live:
            raise SessionLost("its process did not end when it was rolled back")
        worker.adopt(source, source.copy_pid)
        worker.happen(Event.TAKE_OVER)
        self._renewal = asyncio.ensure_future(self._renew(checkpoint))

    async def settle(self) -> None:
        """Wait for the copy that a rollback left to be made; comes before any other use."""
        if self._renewal is not None:
            await asyncio.shield(self._renewal)

    async def _renew(self, checkpoint: Checkpoint) -> None:
        """Put a copy of the session in the place of the one that became the session."""
        try:
            self._make_room(len(self._kept) + 1)
            fresh = await self.copy(self._worker.guest)
        except (SandboxError, OSError) as error:
            self._kept.pop(checkpoint.id, None)
            self._dropped[checkpoint.id] = f"it could not be copied again: {error}"
            return
        finally:
            self._renewal = None
        if checkpoint.id in self._kept:
            self._kept[checkpoint.id] = (checkpoint, fresh)
        else:
            fresh.close()
        self._make_room(len(self._kept))

    def drop(self, checkpoint: Checkpoint, why: str) -> None:
        """Let the copy of `checkpoint` end; nothing if it has been dropped before."""
        kept = self._kept.pop(checkpoint.id, None)
        if kept is not None:
            if kept[1] is not self._worker.guest:
                kept[1].close()
            self._dropped[checkpoint.id] = why
            self._make_room(len(self._kept))

    def close(self) -> None:
        """Let all copies end."""
        if self._renewal is not None:
            self._renewal.cancel()
        for _checkpoint, channel in self._kept.values():
            channel.close()
        self._kept.clear()

    async def copy(self, source: HostChannel) -> HostChannel:
        """A channel to a fresh copy of the process behind `source`."""
        host_end, guest_end = socket.socketpair()
        channel = self._worker.open_guest_channel(host_end)
        try:
            with guest_end:
                ends = (guest_end.fileno(),)
                answer = await source.ask(ForkCopy(NONCE), ends, within_s=COPY_WITHIN_S)
            if not isinstance(answer, CopyResult) or answer.refusal:
                refusal = (
                    answer.refusal if isinstance(answer, CopyResult) else "it answered nonsense"
                )
                raise CopyRefused(refusal)
            await channel.copy_pid_when_ready(COPY_WITHIN_S)
        except TimeoutError:
            channel.close()
            raise EngineTimeout("a copy of the session", COPY_WITHIN_S) from None
        except BaseException:
            channel.close()
            raise
        return channel

    def _make_room(self, copies: int) -> None:
        if self._worker.group is not None:
            self._worker.group.make_room(copies)

    def _channel_of(self, checkpoint: Checkpoint) -> HostChannel:
        label = checkpoint.name or f"number {checkpoint.id}"
        kept = self._kept.get(checkpoint.id)
        if kept is not None and kept[0] == checkpoint and kept[1].is_open:
            return kept[1]
        why = self._dropped.get(checkpoint.id, "it is not of this session, or its process ended")
        raise CheckpointDropped(label, why)

    async def _keep_within_bounds(self) -> None:
        """Drop the oldest until both bounds hold; the newest always stays."""
        while len(self._kept) > self._most:
            self._drop_oldest(f"more than {self._most} checkpoints were kept")
        if len(self._kept) < 2:
            return
        held = {state.checkpoint.id: state.private_bytes for state in await self.list()}
        while len(self._kept) > 1 and sum(held[key] for key in self._kept) > self._bytes_cap:
            self._drop_oldest(f"the checkpoints held more than {self._bytes_cap} bytes of memory")

    def _drop_oldest(self, why: str) -> None:
        oldest, _channel = next(iter(self._kept.values()))
        self.drop(oldest, why)

    async def _private_bytes(self, channel: HostChannel) -> int:
        if not self._worker.plan.asks_for("pid_namespace"):
            # There its pid is the host's, and its own files of /proc are closed to it.
            return private_bytes(channel.copy_pid) if channel.copy_pid else 0
        answer = await channel.ask(Measure(NONCE), within_s=COPY_WITHIN_S)
        return answer.private_bytes if isinstance(answer, Measured) else 0
