"""Asks for the namespaces of branches; see `guest/branching/namespace_builder`."""

import asyncio
import socket

from sandbox.errors import BranchesTooDeep, CopyRefused
from sandbox.processes.host_channel import HostChannel
from sandbox.protocol.messages import NESTING, TRUSTED_CAP_BYTES, BuildNamespaces, Failed, Message


class NamespaceBuilder:
    """Makes the namespaces of branches, one after the other, until it is closed."""

    def __init__(self, generation: int) -> None:
        """`generation` is how many branches away from its first session the origin is."""
        self._generation = generation
        host_end, self.guest_end = socket.socketpair()
        """`guest_end` is for the process, and closed by who has handed it over."""
        self._channel = HostChannel(
            host_end,
            "from_init",
            TRUSTED_CAP_BYTES,
            on_message=self._on_message,
            on_end=lambda _fault: self._fail(CopyRefused("the builder of its branches ended")),
        )
        self._failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def make(self, control_fd: int, cgroups: tuple[int, ...]) -> None:
        """Have a branch made whose init answers on `control_fd`."""
        self._channel.send(BuildNamespaces(len(cgroups)), (control_fd, *cgroups))

    async def unless_it_fails(self, prepared: asyncio.Future[int]) -> int:
        """The result of `prepared`. Raises CopyRefused if the builder ends before that."""
        await asyncio.wait({prepared, self._failed}, return_when=asyncio.FIRST_COMPLETED)
        if not prepared.done():
            await self._failed
        return await prepared

    def why(self, message: Failed) -> CopyRefused:
        """What it means that a branch could not be made, as the error to raise."""
        if message.step == NESTING:
            return BranchesTooDeep(self._generation)
        return CopyRefused(f"{message.step}: {message.message}")

    def close(self) -> None:
        """Let it end."""
        self._channel.close()

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Failed):
            self._fail(self.why(message))

    def _fail(self, error: CopyRefused) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # Nobody may be waiting for it any more.
