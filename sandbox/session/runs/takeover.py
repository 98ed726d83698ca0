"""The standby of a snippet: a copy of the session process that goes on if the snippet dies."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence

from sandbox.outcome import State
from sandbox.processes.guest_process import GuestProcess
from sandbox.processes.worker import Worker
from sandbox.processes.worker_state import Event
from sandbox.protocol.messages import Call, Run

TAKE_OVER_S = 2.0
STANDBY_CHECK_S = 0.002


class Takeover:
    """The way from a snippet that was ended back to the session before it."""

    def __init__(self, worker: Worker, *, spare: Sequence[int]) -> None:
        """`spare` are pids of copies that are to outlive the snippet beside the standby."""
        self._worker = worker
        self._spare = spare
        self._standby: GuestProcess | None = None
        self._deadline = 0.0
        self._was_killed = False

    def send(self, message: Run | Call) -> None:
        """Hand the snippet over, with the channel of its standby if there is to be one."""
        worker = self._worker
        self._deadline = time.monotonic() + TAKE_OVER_S
        if isinstance(message, Run) and message.survive:
            host_end, guest_end = socket.socketpair()
            # It is heard when it is needed, which is for hardly any snippet: see `pid`.
            self._standby = worker.open_guest_channel(host_end, listens=False)
            with guest_end:
                worker.guest.send(message, (guest_end.fileno(),))
        else:
            worker.guest.send(message)

    @property
    def pid(self) -> int:
        """The standby's, if it has said that it waits and its channel is still open; else 0."""
        if self._standby is None:
            return 0
        self._standby.read_now()
        return self._standby.pid if self._standby.is_open else 0

    def copies(self) -> set[int]:
        """Pids of the copies beside the snippet, as far as they are known."""
        return {self.pid, *self._spare} - {0}

    @property
    def is_coming(self) -> bool:
        """Whether a standby was asked for, has not said that it waits, and may still do so."""
        is_early = time.monotonic() < self._deadline
        return self._standby is not None and self._standby.is_open and is_early

    def why_none(self) -> str:
        """Why the snippet, which was to have a standby, has none; empty if it has."""
        if self.pid:
            return ""
        said = self._standby.refusal if self._standby is not None else ""
        return said or "the session could not be copied"

    def drop(self) -> None:
        """Let the standby end."""
        if self._standby is not None:
            self._standby.close()

    def kill_snippet(self, standby_pid: int) -> None:
        """End what the snippet has started, and the snippet; the standby stays."""
        self._was_killed = True
        self._worker.kill_snippet([standby_pid, *self._spare])

    async def carry_out(self) -> State:
        """Bring the worker back to idle with the standby, or end it."""
        worker = self._worker
        standby_pid = self.pid
        while not standby_pid and worker.is_live and self.is_coming:
            # The snippet died so soon that its copy has not said yet that it waits.
            await asyncio.sleep(STANDBY_CHECK_S)
            standby_pid = self.pid
        if not standby_pid or not worker.is_live:
            return self._lose()
        worker.happen(Event.LOSE)
        if not self._was_killed:
            # What died by itself may have left processes; they belong to what is undone.
            self.kill_snippet(standby_pid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_OVER_S):
                await worker.exited()
                await worker.killed()
                return self._go_on(standby_pid)
        return self._lose()

    def _go_on(self, standby_pid: int) -> State:
        worker = self._worker
        assert self._standby is not None
        if not worker.is_live or standby_pid in worker.kills.gone_copies:
            return self._lose()  # The snippet had ended its own copy before it died.
        worker.adopt(self._standby)
        worker.happen(Event.TAKE_OVER)
        return "rolled_back"

    def _lose(self) -> State:
        self.drop()
        self._worker.kill()
        return "lost"
