"""Zygote and workers from the host's side: start, signal, kill, reap.

Theory of operation
===================

    host process ── launcher ── zygote (pid 1) ── init (pid 1 of the session) ── session process
        │             │            │                │  │                           │  └─ copies
        └─ zygote channel (socketpair) ─┘           │  └─ namespace builder        └─ entrant
        └─ control channel (socketpair) ────────────┘        └─ branch init ── session process
        └─ guest channel, stdout and stderr pipes ─────────────────────────────────┘

One `Zygote` serves one policy. It is started once, answers `Spawn`, and is replaced by its owner
when it dies. Each `Worker` is one session's process tree. A builder and an entrant live while a
session is branched (`branching`); a branch has control and guest channels of its own.

How processes are killed. `Worker.kill` sends SIGKILL to init by pidfd; the kernel ends the whole
pid namespace, and the pidfd becomes readable when all of it is gone. The pid namespaces of
branches lie in it: where there are some, init stays and is asked to end the rest, until the last
branch is closed; `kill_with_branches` ends all. In the tiers without a pid namespace the host
closes init's channel, and init ends them all first. `Worker.kill_snippet` asks init to end
everything but the standby and checkpoints. When the host itself is killed, its end of the zygote
channel closes and the zygote exits, which ends everything below it. In a forked child of the host
all descriptors to these processes are closed at once (`fork_safety`).
"""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import select
import socket
import subprocess
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sandbox.cancellation import in_background
from sandbox.errors import (
    EngineTimeout,
    EnvironmentFailed,
    LayerUnavailable,
    SessionLost,
    ZygoteDied,
)
from sandbox.processes import cgroup, fork_safety
from sandbox.processes.directories import OwnDirectory
from sandbox.processes.host_channel import HostChannel
from sandbox.processes.meter import end_orphans
from sandbox.processes.worker import Parent, Worker
from sandbox.protocol.messages import (
    TRUSTED_CAP_BYTES,
    Failed,
    Message,
    Plan,
    SpawnHolder,
    ZygoteReady,
)
from sandbox.protocol.plan import HASH_SEED, OWN_PACKAGES, JailPlan

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[2]); from sandbox.guest.boot import attribute_names;"
    " attribute_names.intern_ahead(); from sandbox.guest.boot.launcher import main;"
    " main(int(sys.argv[1]))"
)
LAUNCHER_FLAGS = ("-s", "-P", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP)
"""Isolated, but for the environment: -I would have PYTHONMALLOC below ignored."""
LAUNCHER_ENV = {
    "LC_ALL": "C.UTF-8",
    # One fork copies the page tables of the whole heap: huge pages make it ten times smaller.
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
ZYGOTE_START_S = 180.0
WORDS_WITHIN_MS = 200
GONE_WITHIN_S = 10.0
WORDS_KEPT = 8192
NEEDED_LAYERS = ("user_namespace", "mount_namespace", "pid_namespace", "net_namespace")
"""Without one of them a session could leave something, or name what it was forked from."""


_numbers = itertools.count(1)
"""Of sessions, in this process: the host id of a session follows from its number."""


class Zygote:
    """A warmed process that forks workers for one plan. Made by `start`."""

    def __init__(self, plan: JailPlan, interpreter: str) -> None:
        self.plan = plan
        self.interpreter = interpreter
        self.layers: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._failure: Failed | None = None
        self._said: deque[bytes] = deque(maxlen=16)
        self._groups: cgroup.ZygoteGroups | None = None
        self._directory: OwnDirectory | None = None
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()

    @classmethod
    async def start(
        cls, plan: JailPlan, interpreter: str, hierarchies: cgroup.Hierarchies | None
    ) -> "Zygote":
        """A zygote that is ready to fork.

        Raises LayerUnavailable, EnvironmentFailed, ZygoteDied, EngineTimeout.
        """
        zygote = cls(plan, interpreter)
        try:
            zygote._launch(hierarchies)
        except OSError as error:
            zygote._clear()
            raise EnvironmentFailed(interpreter, f"it cannot be started: {error}") from error
        try:
            async with asyncio.timeout(ZYGOTE_START_S):
                await zygote._ready
        except TimeoutError:
            await zygote.close()
            raise EngineTimeout("the start of a zygote", ZYGOTE_START_S) from None
        except BaseException:
            await zygote.close()
            raise
        return zygote

    @property
    def is_alive(self) -> bool:
        return self._channel.is_open

    @property
    def pid(self) -> int:
        """Host pid of the launcher, parent of the zygote."""
        return self._process.pid

    def spawn(self) -> Worker:
        """A worker on its way; await its `start`. Raises ZygoteDied if there is no zygote."""
        if not self.is_alive:
            raise self.death()
        worker = self.new_worker()
        worker.ask_zygote(self._channel)
        return worker

    def new_worker(self) -> Worker:
        """A worker without processes: `spawn` or `branching` gives it some."""
        number = next(_numbers)
        group = None
        if self._groups is not None:
            group = self._groups.make(
                number,
                memory_bytes=self.plan.memory_bytes,
                processes=self.plan.processes,
            )
        directory = self._make_directory(number) if self._directory is not None else ""
        worker = Worker(self.plan, number, group, directory, self)
        self._workers.add(worker)
        return worker

    def new_jail(self) -> "ReusedJail | None":
        """A jail for one session after the other; None where what it keeps cannot be proven clean.

        It takes namespaces, and a cgroup whose counters begin anew. Raises ZygoteDied.
        """
        if not self.is_alive:
            raise self.death()
        if self._groups is None or not can_be_reused(self.plan):
            return None
        plan, number = self.plan, next(_numbers)
        group = self._groups.make_kept(
            number, memory_bytes=plan.memory_bytes, processes=plan.processes
        )
        if not group.counts_anew():
            group.remove()
            return None
        return ReusedJail(plan, group, lambda: next(_numbers), self, self._channel)

    def end_orphans(self) -> None:
        """End what is left of a session whose init was ended from outside.

        With a pid namespace the kernel has done it.
        """
        if not self.plan.asks_for("pid_namespace"):
            end_orphans(self._process.pid)

    def death(self) -> Exception:
        """Why this zygote is of no more use, as the error to raise."""
        said = b"".join(self._said)[-WORDS_KEPT:].decode(errors="replace").strip()
        if self._failure is None:
            code = self._process.poll()
            ending = "its channel closed" if code is None else f"exit status {code}"
            return ZygoteDied(ending, said=said, remedy="A new one is started on the next call")
        step, message = self._failure.step, self._failure.message
        if step.startswith("preload "):
            module = step.removeprefix("preload ")
            return EnvironmentFailed(
                self.interpreter,
                message,
                module=module,
                remedy="Install it for that interpreter, or leave it out of Policy.preload",
            )
        return LayerUnavailable(step, message, "Run `cellblock doctor` for the remedy")

    async def close(self) -> None:
        """End the zygote and all of its workers; wait until they are gone."""
        self._channel.close()
        if not self._ended.done():
            try:
                async with asyncio.timeout(GONE_WITHIN_S):
                    await asyncio.shield(self._ended)
            except TimeoutError:
                self._process.kill()
                await self._ended
        for worker in list(self._workers):
            await worker.gone(GONE_WITHIN_S)
        self._forget()
        self._clear()

    def _clear(self) -> None:
        """Remove what is of no use without the process."""
        if self._groups is not None:
            self._groups.remove()
        if self._directory is not None:
            self._directory.remove()

    def close_in_child(self) -> None:
        """Close the descriptors without a word to the loop: for a forked child."""
        if self._directory is not None:
            self._directory.close_in_child()
        for fd in (self._pidfd, self._words, self._channel.fileno()):
            with contextlib.suppress(OSError):
                os.close(fd)
        fork_safety.discard(self)

    def _launch(self, hierarchies: cgroup.Hierarchies | None) -> None:
        if hierarchies is not None:
            self._groups = cgroup.ZygoteGroups(hierarchies)
        if not self.plan.asks_for("mount_namespace"):
            self._directory = OwnDirectory()
        host_end, guest_end = socket.socketpair()
        self._words, words_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    self.interpreter,
                    *LAUNCHER_FLAGS,
                    str(guest_end.fileno()),
                    PACKAGE_PARENT,
                    _language_directory() if self.plan.language == "restricted" else "",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words_write,
                env={**LAUNCHER_ENV, **_hash_seed(self.plan)},
                cwd="/",
                pass_fds=[guest_end.fileno()],
                start_new_session=True,
            )
        except OSError:
            host_end.close()
            os.close(self._words)
            raise
        finally:
            guest_end.close()
            os.close(words_write)
        os.set_blocking(self._words, False)
        self._loop.add_reader(self._words, self._on_words)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        self._channel = HostChannel(
            host_end,
            "from_zygote",
            TRUSTED_CAP_BYTES,
            on_message=self._on_message,
            on_end=lambda _fault: self._fail(),
        )
        fork_safety.add(self)
        self._send_plan()

    def _send_plan(self) -> None:
        names: list[str] = []
        parents: list[int] = []
        if self._groups is not None:
            names = [self._groups.name] * len(self._groups.parents)
            parents = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in self._groups.parents]
        try:
            directory = self._directory.path if self._directory is not None else ""
            plan = Plan(self.plan.to_json().decode(), names, directory)
            self._channel.send(plan, tuple(parents))
        finally:
            for fd in parents:
                os.close(fd)

    def _make_directory(self, number: int) -> str:
        """The directory of a session that has no mount namespace, owned by its host id."""
        assert self._directory is not None
        directory = f"{self._directory.path}/{number}"
        os.mkdir(directory, 0o711)
        owner = self.plan.session_host_id(number)
        own = f"{directory}/tmp/home/{OWN_PACKAGES}"
        for path in (f"{directory}/workspace", f"{directory}/tmp", f"{directory}/tmp/home", own):
            os.mkdir(path, 0o700)
            if owner is not None:
                os.chown(path, owner, owner)
        return directory

    def _on_message(self, message: Message) -> None:
        if isinstance(message, ZygoteReady):
            self.layers = tuple(message.layers)
            if not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(message, Failed):
            self._failure = message
            self._fail()

    def _on_words(self) -> None:
        try:
            data = os.read(self._words, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self._said.append(data[-WORDS_KEPT:])
        else:
            self._loop.remove_reader(self._words)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._process.wait()
        if not self._ended.done():
            self._ended.set_result(None)
        self._fail()

    def _fail(self) -> None:
        self._channel.close()
        for worker in list(self._workers):
            worker.kill()  # Without a pid namespace the kernel does not end them.
        if not self._ready.done():
            self._on_words_left()
            self._ready.set_exception(self.death())

    def _on_words_left(self) -> None:
        poll = select.poll()  # Not `select`, which refuses descriptors from 1024 on.
        poll.register(self._words, select.POLLIN)
        if poll.poll(WORDS_WITHIN_MS):
            self._on_words()

    def _forget(self) -> None:
        self._loop.remove_reader(self._words)
        self._loop.remove_reader(self._pidfd)
        for fd in (self._words, self._pidfd):
            os.close(fd)
        fork_safety.discard(self)


def can_be_reused(plan: JailPlan) -> bool:
    """Whether jails of `plan` can serve one session after the other."""
    if plan.listen_ports or plan.trace or any(bind.access == "rw" for bind in plan.binds):
        return False
    return all(map(plan.asks_for, NEEDED_LAYERS))


class ReusedJail:
    """One net namespace and one cgroup for sessions that come one after the other.

    Its processes, and what proves that a session has left nothing, are told in
    `guest/boot/holder.py`. Here the host takes the next worker of it, and sees to it that the one
    before is gone and its cgroup empty. What cannot be proven is not used again.
    """

    def __init__(
        self,
        plan: JailPlan,
        group: cgroup.KeptGroup,
        next_number: Callable[[], int],
        parent: Parent,
        zygote_channel: HostChannel,
    ) -> None:
        self._plan = plan
        self._group = group
        self._next_number = next_number
        self._parent = parent
        self._is_open = True
        self._worker: Worker | None = None
        self._started: asyncio.Task[None] | None = None
        """The start of that worker, until it is taken."""
        host_end, holder_end = socket.socketpair()
        self._channel = HostChannel(
            host_end,
            "from_zygote",
            TRUSTED_CAP_BYTES,
            on_message=lambda _message: self._channel.close(),
            on_end=lambda _fault: self._on_end(),
            trusted=True,
        )
        fork_safety.add(self)
        given = group.given_fds()
        try:
            with holder_end:
                zygote_channel.send(SpawnHolder(len(given)), (holder_end.fileno(), *given))
        finally:
            for fd in given:
                os.close(fd)

    def get_ready(self) -> None:
        """Have a fresh worker started, for the next `take`. The one before was given back."""
        if self._worker is None and self._channel.is_open:
            self._worker = Worker(self._plan, self._next_number(), self._group, "", self._parent)
            self._worker.ask_zygote(self._channel)
            self._started = in_background(self._worker.start())
            self._started.add_done_callback(_hear)

    async def take(self) -> Worker:
        """A fresh worker in this jail. The one before must have been given back.

        Raises SessionLost where the jail is of no more use, and what the start of a worker raises.
        """
        self.get_ready()
        if self._worker is None or self._started is None:
            raise SessionLost("the jail that it was to run in is gone")
        started, self._started = self._started, None
        await asyncio.wait([started])  # A caller that is cancelled gives the jail back.
        started.result()
        if not self._worker.is_live:
            raise SessionLost("its processes were ended from outside")
        return self._worker

    async def give_back(self) -> bool:
        """End the worker that was taken; whether there is proof that nothing of it is left."""
        worker, self._worker, self._started = self._worker, None, None
        if worker is not None:
            await worker.close()
        return self._channel.is_open and self._group.is_empty()

    async def close(self) -> None:
        """End all of it; once is enough."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            await self.give_back()
        finally:
            self._channel.close()
            self._group.remove()
            fork_safety.discard(self)

    def close_in_child(self) -> None:
        """Close the descriptors without a word to the loop: for a forked child."""
        with contextlib.suppress(OSError):
            os.close(self._channel.fileno())

    def _on_end(self) -> None:
        """The holder is gone, and by that all that it has forked."""
        if self._worker is not None and self._worker.is_live:
            self._worker.kill()


def _hear(started: asyncio.Task[None]) -> None:
    """Take note of how a start ended: one that is not taken any more may fail."""
    if not started.cancelled():
        started.exception()


def _language_directory() -> str:
    """Where the library of the restricted language lies; this environment has it."""
    found = importlib.util.find_spec("RestrictedPython")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent.parent)


def _hash_seed(plan: JailPlan) -> dict[str, str]:
    return {name: value for name, value in plan.env if name == HASH_SEED}
