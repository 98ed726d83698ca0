"""Branches: workers that go on from where another one is.

What the processes do is in `guest/branching/branch`. The host has a namespace builder forked, has
the namespaces of each branch made, opens the gate for the entrant that the session process forks
into them, and starts the branch when the kernel's word says that it is alone in its jail.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from sandbox.errors import BranchesTooDeep, CopyRefused, EngineTimeout, SandboxError, SessionLost
from sandbox.processes.entry_gate import SetnsGrant
from sandbox.processes.host_channel import HostChannel
from sandbox.processes.worker import Worker
from sandbox.protocol.messages import (
    NESTING,
    NO_PROCESS,
    TRUSTED_CAP_BYTES,
    Branch,
    BuildNamespaces,
    Confirm,
    CopyResult,
    EnterNamespaces,
    Failed,
    KillEscaped,
    Message,
    NamespacesReady,
)

STEP_WITHIN_S = 30.0
PREPARED_AHEAD = 2
"""Branches whose namespaces are being made or are ready while one is entered."""


async def branch(origin: Worker, count: int, new_worker: Callable[[], Worker]) -> list[Worker]:
    """`count` branches of the session that `origin` is, at rest now. Raises CopyRefused.

    Not to be cancelled half way, when an answer of the session is on its way.
    """
    if not origin.plan.asks_for("pid_namespace"):
        raise CopyRefused(
            f"a branch is made in namespaces, and the tier {origin.plan.tier} has none",
            remedy="`checkpoint` and `rollback` work there; for branches use the tier namespaces",
        )
    return await _Branching(origin, new_worker).make(count)


class _Branching:
    """One call: its builder, its entrant, and the branches on their way."""

    def __init__(self, origin: Worker, new_worker: Callable[[], Worker]) -> None:
        self._origin = origin
        self._new_worker = new_worker
        self._builder = NamespaceBuilder(origin.lineage.generation)
        self._entrants: list[int] = []
        """Processes that entered from here, as the init of the gate numbers them."""
        self._coming: list[_ComingBranch] = []

    async def make(self, count: int) -> list[Worker]:
        """The branches, once each is confirmed; all of them or none. Raises CopyRefused."""
        with self._builder.guest_end as end:
            self._origin.control.send(Branch(), (end.fileno(),))
        arrivals: list[asyncio.Task[None]] = []
        try:
            await self._enter_all(count, arrivals)
            await self._reap_entrant()
            await asyncio.gather(*(one.verify() for one in self._coming))
        except BaseException as error:
            await asyncio.gather(*arrivals, return_exceptions=True)
            await asyncio.gather(*(one.worker.close() for one in self._coming))
            if isinstance(error, TimeoutError):
                raise EngineTimeout("a branch of the session", STEP_WITHIN_S) from None
            raise
        return [one.worker for one in self._coming]

    async def _enter_all(self, count: int, arrivals: list[asyncio.Task[None]]) -> None:
        try:
            for _ in range(min(count, PREPARED_AHEAD)):
                self._ask_for_one()
            for number in range(count):
                one = self._coming[number]
                await one.enter_namespaces(self._entrants)
                if len(self._coming) < count:
                    self._ask_for_one()
                # It finds its way while the next one is entered.
                arrivals.append(asyncio.ensure_future(one.wait_ready()))
            await asyncio.gather(*arrivals)
        except BaseException:
            # What went wrong first is told; a session that was ended has no entrant any more.
            with contextlib.suppress(SandboxError, TimeoutError):
                await self._reap_entrant()
            raise
        finally:
            self._builder.close()

    def _ask_for_one(self) -> None:
        self._coming.append(_ComingBranch(self._new_worker(), self._origin, self._builder))
        self._coming[-1].ask_builder()

    async def _reap_entrant(self) -> None:
        """Make sure that what entered is in its branch or has ended. Raises CopyRefused."""
        origin = self._origin
        if not origin.guest.is_open or not origin.init.is_known:
            raise SessionLost("its process ended while it was branched")
        try:
            await origin.guest.ask(EnterNamespaces("reap", 0, 0), within_s=STEP_WITHIN_S)
        finally:
            await self._end_entrants()

    async def _end_entrants(self) -> None:
        entrants, self._entrants = self._entrants, []
        root = self._origin.lineage.root or self._origin
        if root is not self._origin:
            # There, others may be on their way from other branches.
            await root.gate.sweep(KillEscaped(entrants, looks=False))
        if await self._origin.gate.sweep(KillEscaped(entrants, looks=True)):
            root.kill_with_branches()
            raise CopyRefused("a process entered a namespace of a branch and stayed outside of it")


class _ComingBranch:
    """One branch on its way; the birth of its worker."""

    def __init__(self, worker: Worker, origin: Worker, builder: "NamespaceBuilder") -> None:
        self.worker = worker
        self._origin = origin
        self._root = origin.lineage.root or origin
        self._builder = builder
        self._prepared: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._grant = SetnsGrant()
        self._arrived = 0
        worker.birth = self
        worker.lineage.origin = origin
        worker.lineage.root = self._root
        worker.lineage.generation = origin.lineage.generation + 1
        origin.lineage.branches.add(worker)

    def ask_builder(self) -> None:
        """Have its namespaces made; `enter_namespaces` comes after this."""
        ends = self.worker.ends
        try:
            self._builder.make(ends.control, ends.cgroups)
        except BaseException:
            ends.close()
            raise
        ends.close_control()

    async def enter_namespaces(self, entrants: list[int]) -> None:
        """Have the session process of the origin fork into the namespaces. Raises CopyRefused.

        `wait_ready`, the reaping of the entrant and `verify` come next, in this order.
        """
        async with asyncio.timeout(STEP_WITHIN_S):
            count = await self._builder.unless_it_fails(self._prepared)
        namespaces = self.worker.control.take_descriptors(count)
        # The entrant enters the user namespace with its first branch, and stays in it.
        entrant = entrants[0] if entrants else 0
        to_enter = namespaces[1:] if entrant else namespaces
        ends = self.worker.ends
        try:
            async with self._root.gate.opened(len(to_enter), entrant) as self._grant:
                answer = await self._origin.guest.ask(
                    EnterNamespaces("enter", len(to_enter), len(ends.cgroups)),
                    (ends.guest, ends.stdout, ends.stderr, *to_enter, *ends.cgroups),
                    within_s=STEP_WITHIN_S,
                )
        finally:
            for fd in namespaces:
                os.close(fd)
            ends.close()
            if self._grant.entrant not in (0, entrant):
                entrants.append(self._grant.entrant)
        with self._no_misuse():
            if not isinstance(answer, CopyResult) or answer.refusal:
                why = answer.refusal if isinstance(answer, CopyResult) else "it said nonsense"
                raise CopyRefused(why)

    async def wait_ready(self) -> None:
        """Wait for the process that is to live there. Raises CopyRefused."""
        with self._no_misuse():
            self._arrived = await self.worker.guest.pid_when_ready(STEP_WITHIN_S)

    async def verify(self) -> None:
        """Wait until the branch's jail holds. Raises CopyRefused."""
        with self._no_misuse():
            self.worker.control.send(Confirm(self._arrived))
            await self.worker.start()

    def init_pidfd(self, control: HostChannel) -> int:
        assert control.sender_pid is not None
        return os.pidfd_open(control.sender_pid)

    def hear(self, message: NamespacesReady) -> None:
        if not self._prepared.done():
            self._prepared.set_result(message.namespaces)

    def failed(self, message: Failed) -> Exception:
        return self._give_up(self._builder.why(message))

    def ended(self) -> Exception:
        return self._give_up(CopyRefused("the branch's first process ended"))

    def _give_up(self, error: CopyRefused) -> CopyRefused:
        if not self._prepared.done():
            self._prepared.set_exception(error)
            self._prepared.exception()  # It is not always awaited.
        return error

    @contextlib.contextmanager
    def _no_misuse(self) -> Iterator[None]:
        """End the origin if a process went through the gate and no branch comes of it.

        Exception: an entrant that reports a failed fork. Reaping kills it and looks for escaped
        processes, and the branch's namespaces end with its init.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, CopyRefused) and error.why.startswith(NO_PROCESS):
                raise
            if self._grant.passed:
                # Whatever it was is not where it should be: see `guest/branching/branch`.
                self._root.kill_with_branches()
            raise


class NamespaceBuilder:
    """Makes the namespaces of branches, one after the other, until it is closed."""

    def __init__(self, generation: int) -> None:
        """`generation` is how many branches away from its first session the origin is."""
        self._generation = generation
        host_end, self.guest_end = socket.socketpair()
        """`guest_end` is for the process, and closed by the code that hands it over."""
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
            self._failed.exception()  # It is not always awaited.
