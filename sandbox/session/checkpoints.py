"""Copies of a session process that wait: what checkpoints and rollback are made of.

A copy is a fork that waits on a channel of its own. It shares every page that neither side has
changed since, and costs nothing while it waits.
"""

import asyncio
import socket
import time
from dataclasses import dataclass, field

from sandbox.errors import (
    CheckpointDropped,
    CopyRefused,
    EngineTimeout,
    GuestFault,
    SandboxError,
    SessionLost,
)
from sandbox.processes.guest_process import GuestProcess
from sandbox.processes.meter import private_bytes
from sandbox.processes.worker import Worker
from sandbox.processes.worker_state import Event
from sandbox.protocol.messages import CopyResult, ForkCopy, Measure, Measured, Message

COPY_WITHIN_S = 10.0
EXIT_WITHIN_S = 2.0
NONCE = "copy"


CHECKPOINT_RIGHT = "Give what `checkpoint()` gave"


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
        self._kept: dict[int, tuple[Checkpoint, GuestProcess]] = {}
        self._dropped: dict[int, str] = {}
        self._renewal: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int]:
        """Pids of the copies, for a kill to spare."""
        return [copy.pid for _checkpoint, copy in self._kept.values() if copy.pid]

    async def add(self, name: str | None, snippet: int) -> Checkpoint:
        """Copy the session process as it is. Raises CopyRefused if a copy would not be faithful."""
        self._make_room(len(self._kept) + 1)
        copy = await self.copy(self._worker.guest)
        self._ids += 1
        checkpoint = Checkpoint(self._ids, name, snippet)
        self._kept[checkpoint.id] = (checkpoint, copy)
        await self._keep_within_bounds()
        if checkpoint.id not in self._kept:
            raise CopyRefused(self._dropped[checkpoint.id])
        return checkpoint

    async def list(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first; what is gone is dropped."""
        measured = await asyncio.gather(
            *(self._measure(checkpoint, copy) for checkpoint, copy in list(self._kept.values()))
        )
        return [state for state in measured if state is not None]

    async def restore(self, checkpoint: Checkpoint) -> None:
        """Make the variables of `checkpoint` those of the session; the checkpoint itself stays.

        The copy becomes the session, and is copied anew while the caller goes on: `wait_renewal`.
        Everything else of the session is ended: its process and what that had started. Raises
        CheckpointDropped, SessionLost.
        """
        worker = self._worker
        source = self._copy_of(checkpoint)
        with worker.heard_by(_Departure()):
            worker.happen(Event.LOSE)
            worker.kill_snippet(self.pids)
            try:
                async with asyncio.timeout(EXIT_WITHIN_S):
                    await worker.exited()
                    await worker.killed()
            except TimeoutError:
                worker.kill()
            if source.pid in worker.kills.gone_copies:
                worker.kill()  # The copy had ended, or gave a number that is not its own.
            if not worker.is_live:
                raise SessionLost("its process did not end when it was rolled back")
            worker.adopt(source)
            worker.happen(Event.TAKE_OVER)
        self._renewal = asyncio.ensure_future(self._renew(checkpoint))

    async def wait_renewal(self) -> None:
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
        for _checkpoint, copy in self._kept.values():
            copy.close()
        self._kept.clear()

    async def copy(self, source: GuestProcess) -> GuestProcess:
        """A fresh copy of the process `source`, which waits. Raises CopyRefused, EngineTimeout."""
        host_end, guest_end = socket.socketpair()
        copy = self._worker.open_guest_channel(host_end)
        try:
            with guest_end:
                ends = (guest_end.fileno(),)
                answer = await source.ask(ForkCopy(NONCE), ends, within_s=COPY_WITHIN_S)
            if not isinstance(answer, CopyResult):
                raise CopyRefused("it answered nonsense")
            if answer.refusal:
                raise CopyRefused(answer.refusal)
            await copy.pid_when_ready(COPY_WITHIN_S)
        except TimeoutError:
            copy.close()
            raise EngineTimeout("a copy of the session", COPY_WITHIN_S) from None
        except BaseException:
            copy.close()
            raise
        return copy

    def _make_room(self, copies: int) -> None:
        if self._worker.group is not None:
            self._worker.group.make_room(copies)

    def _copy_of(self, checkpoint: Checkpoint) -> GuestProcess:
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
        while len(self._kept) > 1 and sum(map(held.__getitem__, self._kept)) > self._bytes_cap:
            self._drop_oldest(f"the checkpoints held more than {self._bytes_cap} bytes of memory")

    def _drop_oldest(self, why: str) -> None:
        oldest, _copy = next(iter(self._kept.values()))
        self.drop(oldest, why)

    async def _measure(self, checkpoint: Checkpoint, copy: GuestProcess) -> CheckpointState | None:
        """What only `copy` holds; None if it does not say so, which ends it."""
        if not self._worker.plan.asks_for("pid_namespace"):
            # There its pid is the host's, and its own files of /proc are closed to it.
            init = self._worker.init.pid
            held = private_bytes(copy.pid, init=init) if copy.pid else 0
            return CheckpointState(checkpoint, held)
        try:
            answer = await copy.ask(Measure(NONCE), within_s=COPY_WITHIN_S)
        except (TimeoutError, GuestFault):
            answer = None
        if isinstance(answer, Measured):
            return CheckpointState(checkpoint, answer.private_bytes)
        self.drop(checkpoint, "its process did not say how much memory it holds")
        return None


class _Departure:
    """Hears the session process end by order of the host."""

    def on_guest(self, _message: Message) -> None:
        """Do nothing: it is undone with the process."""

    def on_fault(self, _said: str | None) -> None:
        """Do nothing: its channel ends with it."""

    def on_exit(self, _status: int) -> None:
        """Do nothing: `Worker.exited` tells."""

    def on_gone(self) -> None:
        """Do nothing: `Worker.exited` tells."""
