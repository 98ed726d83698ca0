"""A Ray cluster: joined once for all that use it, and places on its nodes."""

import asyncio
import importlib
import socket
import threading
from typing import Any

from sandbox.cluster.address import ClusterAddress
from sandbox.cluster.place import Place
from sandbox.errors import PolicyError, RemoteFailed, SandboxError, SessionLost
from sandbox.policy.policy import Policy

INSTALL = "Run: pip install 'cellblock[ray]'"
REACH = "Is `ray start --head` running there, and is the address right?"
HEAD_WITHIN_S = 5.0
PLACED_WITHIN_S = 120.0
CALLS_AT_ONCE = 1000
ENGINE_BYTES = 256 * 1024 * 1024
"""Of a place beside its session: interpreter, engine, zygote with little preloaded."""
_joining = threading.Lock()
_users = 0
"""Clusters of this process that joined by themselves and have not left."""


def load_ray() -> Any:
    """The library. Raises PolicyError with the remedy."""
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise PolicyError("engine", "ray is not installed", INSTALL) from None


class Lost(SandboxError):
    """A place is gone, with its node or its process."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Cluster:
    """A cluster that was or is to be joined."""

    def __init__(self, address: ClusterAddress, policy: Policy) -> None:
        """Raises PolicyError where ray is not installed."""
        self._ray = load_ray()
        self._address = address
        self._policy = policy
        self._is_ours = False
        self._is_joined = False
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """As the program named it."""
        return f"ray:{self._address.address}"

    async def join(self) -> None:
        """Be part of the cluster. Raises RemoteFailed."""
        async with self._lock:
            if not self._is_joined:
                await asyncio.to_thread(self._join)
                self._is_joined = True

    async def leave(self) -> None:
        """Leave it, if it was joined for this alone."""
        async with self._lock:
            if self._is_joined:
                self._is_joined = False
                await asyncio.to_thread(self._leave)

    async def width(self) -> int:
        """How many sessions its processors have room for; one at least."""
        await self.join()
        found = await asyncio.to_thread(self._ray.cluster_resources)
        return max(1, int(found.get("CPU", 1) / max(self._address.cpus, 0.01)))

    async def place(self) -> "Placed":
        """A new place on the node with the most room. Raises RemoteFailed where none has any."""
        await self.join()
        memory_bytes = self._policy.limits.memory_bytes + ENGINE_BYTES
        actor = (
            self._ray.remote(Place)
            .options(
                num_cpus=self._address.cpus,
                memory=memory_bytes,
                max_restarts=0,
                max_concurrency=CALLS_AT_ONCE,
                scheduling_strategy="SPREAD",
            )
            .remote(self._policy)
        )
        placed = Placed(self._ray, actor)
        try:
            async with asyncio.timeout(PLACED_WITHIN_S):
                placed.node = await placed.ask("node")
        except TimeoutError:
            placed.kill()
            problem = (
                f"no node had {self._address.cpus:g} processors and {memory_bytes >> 20} MiB free"
                f" for {PLACED_WITHIN_S:g} s"
            )
            remedy = "Close sessions, lower Limits.memory_bytes or ?cpus=, or add a node"
            raise RemoteFailed(self.name, problem, remedy) from None
        except Lost as error:
            problem = f"a place did not start: {error.why}"
            remedy = "Every node needs this version of cellblock and Python; see `ray logs`"
            raise RemoteFailed(self.name, problem, remedy) from None
        except BaseException:
            placed.kill()
            raise
        return placed

    def _join(self) -> None:
        global _users
        ray = self._ray
        with _joining:
            if ray.is_initialized() and not _users:
                return  # The program has joined by itself.
            if not ray.is_initialized():
                self._try_head()
                try:
                    ray.init(
                        address=self._address.address, log_to_driver=False, logging_level="ERROR"
                    )
                except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                    said = str(error).strip().partition("\n")[0][:300]
                    raise RemoteFailed(self.name, said, REACH) from error
            _users += 1
            self._is_ours = True

    def _try_head(self) -> None:
        """Raise RemoteFailed where nothing listens: Ray itself would try for a minute."""
        where = self._address.host_and_port
        if where is None:
            return
        try:
            socket.create_connection(where, HEAD_WITHIN_S).close()
        except OSError as error:
            raise RemoteFailed(self.name, str(error) or "no connection", REACH) from error

    def _leave(self) -> None:
        global _users
        with _joining:
            if self._is_ours:
                self._is_ours = False
                _users -= 1
                if not _users:
                    self._ray.shutdown()


class Placed:
    """A place of the cluster, as the program sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self.node = ""
        self.sessions = 0
        """Open ones, branches too."""
        self.is_lost = False

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The result of a call. Raises what the call raised there, or Lost."""
        try:
            reference = self._actor.ask.remote(name, *args, **kwargs)
            went_well, found = await asyncio.wrap_future(reference.future())
        except self._ray.exceptions.RayError as error:
            self.is_lost = True
            why = str(error).strip().partition("\n")[0][:300]
            raise Lost(why or type(error).__name__) from None
        if not went_well:
            raise found
        return found

    async def end(self) -> None:
        """End the engine there, and give the node's room back."""
        if not self.is_lost:
            try:
                async with asyncio.timeout(10):
                    await self.ask("end")
            except (Lost, TimeoutError):
                pass  # Killed all the same, and with it what it started.
        self.kill()

    def kill(self) -> None:
        """End the process of the place."""
        self._ray.kill(self._actor, no_restart=True)


def session_lost(error: Lost) -> SessionLost:
    """What a session's calls raise once its place is gone."""
    return SessionLost(f"its node or place on the cluster is gone: {error.why}")
