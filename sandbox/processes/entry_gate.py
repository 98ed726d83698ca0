"""The gate through which a process enters the namespaces of a branch, from the host's side.

The init of a session keeps it; what it lets through is in `guest/branching/seccomp_notifier`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox.processes.host_channel import HostChannel
from sandbox.protocol.messages import AllowSetns, EscapedKilled, KillEscaped, SetnsDenied

ANSWER_WITHIN_S = 30.0


@dataclass
class SetnsGrant:
    """One opening of the gate."""

    passed: int = 0
    """How many namespaces were entered, once it is shut."""
    entrant: int = 0
    """The process that entered them, as the gate's init numbers it; 0 if none did."""


class EntryGate:
    """Opens the gate that a worker's init keeps, and has escaped processes killed."""

    def __init__(self, control: HostChannel) -> None:
        self._control = control
        self._opening = asyncio.Lock()
        self._sweeping = asyncio.Lock()
        self._denied: asyncio.Future[SetnsDenied] | None = None
        self._swept: asyncio.Future[EscapedKilled] | None = None
        self._is_over = False

    @asynccontextmanager
    async def opened(self, namespaces: int, entrant: int) -> AsyncIterator[SetnsGrant]:
        """Let one process through, one at a time: `entrant`, or with 0 the first that comes.

        Raises TimeoutError if init does not say that the gate is shut again.
        """
        grant = SetnsGrant()
        async with self._opening:
            self._control.send(AllowSetns(namespaces, entrant))
            try:
                yield grant
            finally:
                shut = await self._shut()
                grant.passed, grant.entrant = shut.passed, shut.entrant

    async def sweep(self, order: KillEscaped) -> int:
        """Carry out `order`; how many escaped processes there were. Raises TimeoutError."""
        async with self._sweeping:
            if self._is_over:
                return 0
            self._swept = asyncio.get_running_loop().create_future()
            self._control.send(order)
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return (await self._swept).escaped

    def hear(self, message: SetnsDenied | EscapedKilled) -> None:
        """Take an answer of init."""
        if isinstance(message, SetnsDenied):
            if self._denied is not None and not self._denied.done():
                self._denied.set_result(message)
        elif self._swept is not None and not self._swept.done():
            self._swept.set_result(message)

    def close(self) -> None:
        """Let nothing pass any more: init is gone, and nothing escaped is left."""
        self._is_over = True
        self.hear(SetnsDenied(0, 0))
        self.hear(EscapedKilled(0))

    async def _shut(self) -> SetnsDenied:
        if self._is_over:
            return SetnsDenied(0, 0)
        self._denied = asyncio.get_running_loop().create_future()
        self._control.send(AllowSetns(0, 0))
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await self._denied
