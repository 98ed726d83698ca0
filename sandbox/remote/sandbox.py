"""Sessions and runs of another machine, as `AsyncSandbox` has them of this one."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, NoReturn, Self

from sandbox import events
from sandbox.errors import NotRemote, PolicyError, RemoteFailed, SessionClosed
from sandbox.outcome import Outcome
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.protocol.messages import Checked
from sandbox.remote.expecting import Expecting
from sandbox.remote.faults import NO_ANSWER
from sandbox.remote.server import SANDBOX, Server
from sandbox.remote.session import AsyncRemoteSession
from sandbox.session.expiry import RETENTION_S
from sandbox.session.host_tools import HostTools
from sandbox.session.live_session import CHECKPOINT_BYTES, CHECKPOINTS_KEPT
from sandbox.session.mapped import mapped
from sandbox.session.runs.request import NO_TOOLS

CONCURRENCY = 4
NOT_TOLD = "not-told"
"""Stands for the value of a secret, which a server keeps for itself."""


class AsyncRemoteSandbox:
    """Runs snippets on another machine that runs `cellblock serve`. Made by `AsyncSandbox.connect`.

    The same calls with the same errors; what there is none of over HTTP raises NotRemote. The
    policy is the server's, and limits of a call are lowered to it.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        tools: HostTools | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tools = NO_TOOLS.beside(tools)
        self._server = Server(url, key=key, tls=tls)
        self._open: set[AsyncRemoteSession] = set()
        self._is_closed = False
        self._expecting = Expecting(self._server)
        self._policy: Policy | None = None

    async def __aenter__(self) -> Self:
        told = await self._server.call("GET", "", root=SANDBOX)
        self._policy = _policy_of(self._server.name, told)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def policy(self) -> Policy:
        """The server's policy, as it was when this box was entered.

        The values of its secrets stay there. Raises NotRemote before it was entered.
        """
        if self._policy is None:
            raise NotRemote("policy before the box is entered", "Use it as a context manager")
        return self._policy

    async def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run one snippet in a fresh jail that ends with it."""
        async with self.session(tools=tools) as session:
            return await session.run(code, limits=limits, stdin=stdin, script="")

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncGenerator[events.Event, None]:
        """Events of one snippet in a fresh jail, as they happen."""
        async with self.session(tools=tools) as session:
            source = session.stream(code, limits=limits, stdin=stdin, script="")
            async with aclosing(source):
                async for event in source:
                    yield event

    def session(
        self,
        *,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        tools: HostTools | None = None,
    ) -> AsyncRemoteSession:
        """A session; await it or enter it to open it; see `AsyncSandbox.session`.

        `tools` are functions of this process: their calls come as events of a run.
        """
        if self._is_closed:
            raise SessionClosed("sandbox")
        asked = (
            ("ttl_s", ttl_s, None),
            ("retention_s", retention_s, RETENTION_S),
            ("checkpoints", checkpoints, CHECKPOINTS_KEPT),
            ("checkpoint_bytes", checkpoint_bytes, CHECKPOINT_BYTES),
        )
        return AsyncRemoteSession(
            self._server,
            self._open,
            tools=self._tools.beside(tools),
            settings={name: value for name, value, default in asked if value != default},
        )

    @property
    def expected(self) -> int:
        """How many sessions this box expects beyond those that are open."""
        return self._expecting.sessions

    def expect(self, sessions: int) -> None:
        """Have the server keep so many more workers warm, within what the key may have open; a
        negative number takes it back. It is told in the background, on the running loop."""
        if self._is_closed:
            raise SessionClosed("sandbox")
        self._expecting.expect(sessions)

    def kept_jails(self) -> NoReturn:
        """Not possible. Raises NotRemote."""
        raise NotRemote("kept_jails", "Use run or map: the server keeps workers warm")

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        async with self.session() as session:
            return await session.check(code)

    async def map(
        self,
        snippets: Iterable[str],
        *,
        limits: Limits | None = None,
        concurrency: int | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """(index, outcome) of each snippet, each in a fresh jail, `concurrency` at a time."""
        width = concurrency or CONCURRENCY
        work = mapped(
            lambda code: self.run(code, limits=limits), snippets, width=width, ordered=ordered
        )
        async for found in work:
            yield found

    async def close(self) -> None:
        """End every session that was opened here. May be called again.

        Raises RemoteFailed where the server could not be told; there they end when idle.
        """
        self._is_closed = True
        await self._expecting.close()
        sessions = list(self._open)
        closed = await asyncio.gather(
            *(session.close() for session in sessions), return_exceptions=True
        )
        self._open.clear()
        for one in closed:
            if isinstance(one, BaseException):
                raise one


def _policy_of(name: str, told: Any) -> Policy:
    """The policy that the server `name` tells. Raises RemoteFailed."""
    try:
        found = dict(told["policy"])
        secrets = dict(found.get("secrets") or {}).items()
        found["secrets"] = {key: {**one, "value": NOT_TOLD} for key, one in secrets}
        return Policy.model_validate(found)
    except (KeyError, TypeError, ValueError, PolicyError) as error:
        problem = f"its policy is none that this version knows ({type(error).__name__})"
        raise RemoteFailed(name, problem, NO_ANSWER) from None
