"""A session of another machine: the calls of `AsyncSession`, over HTTP."""

import asyncio
import contextlib
import json
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, overload

from sandbox import events
from sandbox.cancellation import in_background
from sandbox.errors import (
    RemoteFailed,
    SandboxError,
    SessionClosed,
    SessionError,
    SessionExpired,
    StaleProcess,
)
from sandbox.outcome import Outcome
from sandbox.policy.arguments import check_name, check_number, check_type
from sandbox.policy.limits import Limits, check_limits
from sandbox.protocol.messages import ToolAnswer
from sandbox.remote.command import AsyncRemoteCommand
from sandbox.remote.event_stream import Frames, ToolCalled, event_of
from sandbox.remote.faults import NO_ANSWER
from sandbox.remote.remote_calls import RemoteCalls
from sandbox.remote.remote_files import RemoteFiles
from sandbox.remote.server import Server
from sandbox.remote.tool_calls import RemoteToolRun, described
from sandbox.session.best_of import BestOf, best_of_branches, checked_snippets
from sandbox.session.checkpoints import CHECKPOINT_RIGHT, Checkpoint, CheckpointState
from sandbox.session.host_tools import HostTools, Tools
from sandbox.session.runs.request import NO_TOOLS, check_arguments

CLOSE_WITHIN_S = 10.0


class AsyncRemoteSession(RemoteCalls, RemoteFiles):
    """Variables, imports and files that persist from one snippet to the next, over there.

    Made by the `session()` of what `AsyncSandbox.connect` gives; either awaited or entered as a
    context manager. A caller that is cancelled is back at once; its snippet or command is ended by
    the server. Every call may raise RemoteFailed, and ServerBusy where the server has no room.
    """

    def __init__(
        self,
        server: Server,
        open_ones: "set[AsyncRemoteSession]",
        *,
        tools: Tools = NO_TOOLS,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """It is among `open_ones` while it has to be closed; `settings` are for the server."""
        self._server = server
        self._tools = tools
        self._settings = dict(settings or {})
        self._commands: set[AsyncRemoteCommand] = set()
        self._expires_at: float | None = None
        self._open_ones = open_ones
        self._made_in = os.getpid()
        self._id = ""
        self._layers: tuple[str, ...] = ()
        self._is_closed = False
        self._loss: SessionError | None = None

    async def __aenter__(self) -> Self:
        if not self._id and not self._is_closed:
            self._take(await self._server.call("POST", "", self._settings or None))
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[object, None, Self]:
        return self.__aenter__().__await__()

    @property
    def id(self) -> str:
        """The session's id at the server; empty until it is open."""
        return self._id

    @property
    def is_live(self) -> bool:
        """Whether it is open and no call found it lost. The server is not asked: see `ask_live`."""
        return bool(self._id) and not self._is_closed and self._loss is None

    async def ask_live(self) -> bool:
        """Whether the server still has the session. Raises RemoteFailed."""
        with contextlib.suppress(SessionError):
            await self._ask("GET", "")
        return self.is_live

    @property
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        self._check()
        if self._loss is not None:
            raise self._loss
        return self._layers

    async def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run `code` and give back how it ended; see `AsyncSession.run`."""
        source = self.stream(code, limits=limits, stdin=stdin, script=script, tools=tools)
        return await events.last_outcome(source)

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncGenerator[events.Event, None]:
        """Events of `run` as they happen; the last one is `Finished` with the outcome.

        Leaving the loop early interrupts the snippet.
        """
        check_arguments(code, stdin=stdin, script=script)
        check_limits(limits)
        offered = self._tools.beside(tools)
        body: dict[str, Any] = {"code": code, "stream": True}
        if offered:
            body["tools"] = described(offered)
        if limits is not None:
            body["limits"] = limits.model_dump(exclude_unset=True)
        if stdin is not None:
            body["stdin"] = stdin
        if script is not None:
            body["script"] = script
        calls = RemoteToolRun(offered, self._answer)
        try:
            with self._noting_loss():
                opened = self._server.opened("POST", f"{self._path}/run", body)
                async for event in self._events(opened, calls):
                    yield event
        finally:
            await calls.end()

    def interrupt(self) -> None:
        """End the snippet that runs now, if there is one; `run` gives its outcome.

        Returns at once: the server is told in the background.
        """
        if self.is_live:
            in_background(self._tell("POST", "/interrupt"))

    async def checkpoint(self, name: str | None = None) -> Checkpoint:
        """A handle to the variables as they are now, for `rollback`."""
        if name is not None:
            check_name("name", name, "Give the checkpoint's name as a str")
        return self._checkpoint(await self._ask("POST", "/checkpoint", {"name": name}))

    async def rollback(self, checkpoint: Checkpoint) -> None:
        """Put the variables back to what they were at `checkpoint`, which stays."""
        check_type("checkpoint", checkpoint, Checkpoint, CHECKPOINT_RIGHT)
        body = {"checkpoint": checkpoint.id}
        await self._ask("POST", "/rollback", body, subject=str(checkpoint.id))

    async def drop(self, checkpoint: Checkpoint) -> None:
        """Let go of a checkpoint and the memory that it holds; nothing if that was done before."""
        check_type("checkpoint", checkpoint, Checkpoint, CHECKPOINT_RIGHT)
        await self._ask("DELETE", f"/checkpoints/{checkpoint.id}")

    async def checkpoints(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first, with the memory of each."""
        found = await self._ask("GET", "/checkpoints")
        try:
            return [
                CheckpointState(self._checkpoint(row), int(row["private_bytes"]))
                for row in found["data"]
            ]
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    @overload
    async def fork(self) -> "AsyncRemoteSession": ...

    @overload
    async def fork(self, n: int) -> "list[AsyncRemoteSession]": ...

    async def fork(self, n: int | None = None) -> "AsyncRemoteSession | list[AsyncRemoteSession]":
        """A session that goes on from here by itself, with a copy of the files; or `n` of them."""
        if n is None:
            [branch] = await self.fork(1)
            return branch
        check_number("n", n, "Give how many branches are wanted", kinds=(int,))
        found = await self._ask("POST", "/fork", {"n": n})
        rows = found.get("data")
        if not isinstance(rows, list) or len(rows) != n:
            raise self._nonsense()
        branches = [
            AsyncRemoteSession(self._server, self._open_ones, tools=self._tools) for _ in rows
        ]
        for branch, row in zip(branches, rows, strict=True):
            branch._take(row)
        return branches

    async def best_of(
        self,
        snippets: Sequence[str],
        *,
        key: Callable[[Outcome], float] | None = None,
        limits: Limits | None = None,
    ) -> BestOf:
        """Run each of `snippets` in a branch of its own, all at once; the winner is the session."""
        snippets = checked_snippets(snippets)
        branches = await self.fork(len(snippets))

        def become(winner: AsyncRemoteSession) -> None:
            # The session that was is closed as the branch that it has become.
            self._id, winner._id = winner._id, self._id
            self._layers, winner._layers = winner._layers, self._layers

        return await best_of_branches(branches, snippets, key=key, limits=limits, become=become)

    async def try_run(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> Outcome:
        """Run `code` and keep what it did to the variables only if it completed."""
        mark = await self.checkpoint()
        outcome = await self.run(code, limits=limits, stdin=stdin)
        if outcome.status == "completed" or outcome.state != "kept":
            return outcome
        await self.rollback(mark)
        return outcome.model_copy(update={"state": "rolled_back"})

    async def close(self) -> None:
        """End the session and throw its files away. May be called again.

        It is closed here also where the server cannot be told: there it ends when it was idle.
        """
        if self._is_closed or os.getpid() != self._made_in:
            return
        self._is_closed = True
        self._open_ones.discard(self)
        for command in list(self._commands):
            command.leave(SessionClosed())
        if self._id and (self._loss is None or isinstance(self._loss, SessionExpired)):
            with contextlib.suppress(SessionError):
                await self._server.call("DELETE", f"/{self._id}", silent_s=CLOSE_WITHIN_S)

    @property
    def expires_at(self) -> float | None:
        """When the session expires, in seconds since the epoch; None for never.

        One that is idle for as long as the server's settings say ends before.
        """
        return self._expires_at

    async def extend(self, ttl_s: float) -> None:
        """Let the session expire `ttl_s` seconds from now, and not before."""
        check_number("ttl_s", ttl_s, "Give seconds, from now on")
        self._note_expiry(await self._ask("POST", "/extend", {"ttl_s": ttl_s}))

    # ---- inside ---------------------------------------------------------------------------------

    async def _events(
        self, opened: AbstractAsyncContextManager[AsyncIterator[bytes]], calls: RemoteToolRun
    ) -> AsyncGenerator[events.Event, None]:
        frames = Frames(self._server.name)
        async with opened as pieces:
            async for piece in pieces:
                for name, data in frames.feed(piece):
                    event = event_of(self._server.name, name, data)
                    if isinstance(event, ToolCalled):
                        if not calls.begin(event.call_id, event.name, event.args, event.kwargs):
                            raise self._nonsense()
                        continue
                    yield event
                    if isinstance(event, events.Finished):
                        return
        raise RemoteFailed(self._server.name, "its stream ended before the outcome")

    async def _answer(self, call_id: str, answer: ToolAnswer) -> None:
        """Send the answer to a call; one that the server does not take becomes an error there."""
        row: dict[str, Any] = {"call_id": call_id}
        if answer.error_type:
            row["error"] = {"type": answer.error_type, "message": answer.error_message}
        else:
            row["result"] = await asyncio.to_thread(json.loads, answer.result)
        path = f"/{self._id}/tool_results"
        try:
            await self._server.call("POST", path, {"results": [row]})
        except SandboxError as error:
            if isinstance(error, RemoteFailed) and error.status == 404:
                return  # The snippet waits for it no more.
            failed = {"type": "RuntimeError", "message": f"the result was not sent: {error}"[:1000]}
            again = {"results": [{"call_id": call_id, "error": failed}]}
            # What is wrong with the server the run itself finds out.
            with contextlib.suppress(SandboxError):
                await self._server.call("POST", path, again)

    def _note_expiry(self, told: Any) -> None:
        try:
            at = told.get("expires_at")
            self._expires_at = None if at is None else float(at)
        except (AttributeError, TypeError, ValueError):
            raise self._nonsense() from None

    @property
    def _path(self) -> str:
        self._check()
        return f"/{self._id}"

    def _check(self) -> None:
        if os.getpid() != self._made_in:
            raise StaleProcess("The session", self._made_in, os.getpid())
        if self._is_closed:
            raise SessionClosed
        if not self._id:
            raise SessionClosed(was_opened=False)
        # Of one that expired the files can still be fetched; the server says what cannot.
        if self._loss is not None and not isinstance(self._loss, SessionExpired):
            raise self._loss

    async def _ask(
        self, method: str, path: str, body: object = None, *, subject: str = "", **more: Any
    ) -> Any:
        whole = self._path + path
        with self._noting_loss():
            return await self._server.call(method, whole, body, subject=subject, **more)

    async def _tell(self, method: str, path: str) -> None:
        # Nothing waits for it: what is wrong with the server its other calls find out.
        with contextlib.suppress(SandboxError):
            await self._ask(method, path)

    @contextlib.contextmanager
    def _noting_loss(self) -> Generator[None, None, None]:
        try:
            yield
        except SessionError as error:
            if self._is_closed:
                raise SessionClosed from error
            self._loss = error
            raise

    def _take(self, told: Any) -> None:
        try:
            session_id, layers = str(told["id"]), tuple(map(str, told["layers"]))
        except (KeyError, TypeError):
            raise self._nonsense() from None
        if not session_id.replace("_", "").replace("-", "").isalnum() or not session_id.isascii():
            raise self._nonsense()
        self._note_expiry(told)
        self._id, self._layers = session_id, layers
        self._open_ones.add(self)

    def _checkpoint(self, told: Any) -> Checkpoint:
        try:
            name = None if told["name"] is None else str(told["name"])
            return Checkpoint(
                int(told["id"]), name, int(told["snippet"]), made_at=float(told["made_at"])
            )
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    def _nonsense(self) -> RemoteFailed:
        return RemoteFailed(self._server.name, "its answer about a session is none", NO_ANSWER)
