"""Session: state that persists over snippets, on one worker, with the files beside it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from types import TracebackType
from typing import Self, overload

from sandbox import events
from sandbox.cancellation import in_background, wait_for_end
from sandbox.errors import (
    PolicyError,
    SessionClosed,
    SessionError,
    SessionExpired,
    StaleProcess,
)
from sandbox.files.session_files import SessionFiles
from sandbox.outcome import Outcome
from sandbox.policy.arguments import check_name, check_number, check_type
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.processes.supply import WorkerSource
from sandbox.protocol.messages import Checked
from sandbox.session.best_of import BestOf, best_of, checked_snippets
from sandbox.session.checkpoints import CHECKPOINT_RIGHT, Checkpoint, CheckpointState
from sandbox.session.commands.command_calls import CommandCalls
from sandbox.session.description import SessionDescription, describe
from sandbox.session.expiry import RETENTION_S, Expiry
from sandbox.session.host_tools import HostTools, Tools
from sandbox.session.install_calls import InstallCalls
from sandbox.session.live_session import (
    CHECKPOINT_BYTES,
    CHECKPOINTS_KEPT,
    LiveSession,
    SessionOptions,
)
from sandbox.session.renewal import renewed
from sandbox.session.runs.request import NO_TOOLS, SnippetRequest, check_code
from sandbox.session.runs.run_output import Sink
from sandbox.session.turns import Turns
from sandbox.session.values import ValueCalls

CLOSED_WITHIN_S = 10.0


class AsyncSession(CommandCalls, InstallCalls, ValueCalls):
    """Variables, imports and files that persist from one snippet to the next.

    Made by `AsyncSandbox.session()`; either awaited or entered as a context manager. One snippet
    runs at a time; a second caller waits its turn. A caller that is cancelled is back within the
    grace of a snippet; what it had begun ends by itself, and the next call waits for that.
    """

    def __init__(
        self,
        supply: WorkerSource,
        policy: Policy,
        *,
        survive: bool | None = None,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
        tools: Tools = NO_TOOLS,
        is_brief: bool = False,
    ) -> None:
        """One that `is_brief` ends with its only program, and is not frozen in between."""
        self._options = SessionOptions.of(
            policy,
            survive=survive,
            checkpoints=checkpoints,
            checkpoint_bytes=checkpoint_bytes,
            access=supply.access,
        )
        self._supply = supply
        self._tools = tools
        self._policy = policy
        self._made_in = os.getpid()
        self._live: LiveSession | None = None
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None
        self._expiry = Expiry(
            ttl_s=ttl_s,
            retention_s=retention_s,
            freeze=lambda: self._pause(stopped=True),
            thaw=lambda: self._pause(stopped=False),
            expire=self._expire,
            forget=self._forget_files,
            freezes=not is_brief,
        )
        self._turns = Turns(
            self._expiry,
            alive=self._alive,
            is_closed=lambda: self._is_closed,
            give_back=self._give_back,
            renew=self._renew,
        )

    async def __aenter__(self) -> Self:
        if self._live is None and not self._is_closed:
            live = LiveSession(await self._supply.take(), self._options)
            live.files.note_fresh()
            self._begin(live)
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
    def is_live(self) -> bool:
        """Whether a snippet can be run: it is open, not expired, and its processes are there."""
        try:
            self._alive()
        except (SessionError, StaleProcess):
            return False
        return True

    @property
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        return self._alive().worker.layers

    async def describe(self) -> SessionDescription:
        """Interpreter, packages, limits, layers, places for files, and what survives."""
        layers, survives = self.enforcement, self._options.survive
        return await asyncio.to_thread(describe, self._policy, layers, survives=survives)

    async def run(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> Outcome:
        """Run `code` and give back how it ended.

        `limits` replaces what it sets of the policy's limits, for this call. `stdin` is what the
        snippet reads; without it reads meet the end of the file. Raises SessionClosed,
        SessionLost, PolicyError. When the calling task is cancelled the snippet is interrupted.

        With `script` the code runs and ends as a program of that name does: `__file__` and
        `sys.argv[0]` are the name, empty for a program that has none; threads are waited for,
        `atexit` functions run, open files are written out, variables are gone.

        `tools` are functions of this process that the snippet calls by name, beside those of the
        session; see `HostTool` for their limits.
        """
        return await self._run(self._request(code, limits, stdin, script, tools), None)

    async def stream(
        self,
        code: str,
        *,
        limits: Limits | None = None,
        stdin: str | None = None,
        script: str | None = None,
        tools: HostTools | None = None,
    ) -> AsyncIterator[events.Event]:
        """Events of `run` as they happen; the last one is `Finished` with the outcome.

        Leaving the loop early interrupts the snippet.
        """
        queue: asyncio.Queue[events.Event | None] = asyncio.Queue()
        request = self._request(code, limits, stdin, script, tools)
        task = in_background(self._run(request, queue.put_nowait))
        task.add_done_callback(lambda _task: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            outcome = await task
            for artifact in outcome.artifacts:
                yield events.ArtifactMade(artifact)
            yield events.Finished(outcome)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    def interrupt(self) -> None:
        """End the snippet that runs now, if there is one; `run` gives its outcome.

        As at a deadline: `KeyboardInterrupt` in the snippet first, and after the grace its end.
        Returns at once.
        """
        if self._live is not None:
            self._live.interrupt()

    @property
    def expires_at(self) -> float | None:
        """When the session expires, in seconds since the epoch; None for never."""
        return self._expiry.expires_at

    async def extend(self, ttl_s: float) -> None:
        """Let the session expire `ttl_s` seconds from now, and not before."""
        self._alive()
        self._expiry.extend(ttl_s)

    async def checkpoint(self, name: str | None = None) -> Checkpoint:
        """A handle to the variables as they are now, for `rollback`.

        The oldest is dropped first when there are too many. Raises CopyRefused where
        live threads or child processes forbid a faithful copy. When the calling task is cancelled
        there is no checkpoint, and the session goes on.
        """
        if name is not None:
            check_name("name", name, "Give the checkpoint's name as a str")
        return await self._turns.take(
            lambda live: live.checkpoint(name),
            grace_s=self._grace_s,
            undo=lambda made: self._drop(made, "its caller was cancelled"),
        )

    async def rollback(self, checkpoint: Checkpoint) -> None:
        """Put the variables back to what they were at `checkpoint`, which stays.

        Processes that the session started since are ended. Files stay as they are, unless the
        policy says `files="rollback"`. Raises CheckpointDropped. A call that is cancelled once it
        has begun is carried out all the same.
        """
        check_type("checkpoint", checkpoint, Checkpoint, CHECKPOINT_RIGHT)
        await self._turns.take(lambda live: live.rollback(checkpoint), grace_s=self._grace_s)

    async def drop(self, checkpoint: Checkpoint) -> None:
        """Let go of a checkpoint and the memory that it holds; nothing if that was done before."""
        check_type("checkpoint", checkpoint, Checkpoint, CHECKPOINT_RIGHT)
        await self._turns.take(_nothing, grace_s=self._grace_s)
        self._drop(checkpoint, "it was let go of")

    async def checkpoints(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first, with the memory of each."""
        return await self._turns.take(lambda live: live.list_checkpoints(), grace_s=self._grace_s)

    @overload
    async def fork(self) -> "AsyncSession": ...

    @overload
    async def fork(self, n: int) -> "list[AsyncSession]": ...

    async def fork(self, n: int | None = None) -> "AsyncSession | list[AsyncSession]":
        """A session that goes on from here by itself, with a copy of the files; or `n` of them.

        A branch has its own jail, limits and bill; its deadline is that of a new session. Raises
        CopyRefused where the session could not be told apart from its branch: live threads,
        child processes, open sockets, pipes or workspace files, writable shared memory. The
        kernel nests namespaces 32 deep, so a branch of a branch, and so on, raises BranchesTooDeep
        after 29 of them. So does `best_of`, whose winner is a branch, after so many wins.
        """
        if n is None:
            [branch] = await self.fork(1)
            return branch
        check_number("n", n, "Give how many branches are wanted", kinds=(int,))
        if n < 1:
            raise PolicyError("n", f"is {n}", "Ask for at least one branch")
        places = self._supply.places(n)

        async def branch_off(live: LiveSession) -> list[AsyncSession]:
            workers = await self._supply.branch(live.worker, places)
            return [self._branch(live.continued(worker)) for worker in workers]

        return await self._turns.take(
            branch_off,
            grace_s=self._grace_s,
            before=places.take,
            after=places.give_back,
            undo=_close_all,
        )

    async def best_of(
        self,
        snippets: Sequence[str],
        *,
        key: Callable[[Outcome], float] | None = None,
        limits: Limits | None = None,
    ) -> BestOf:
        """Run each of `snippets` in a branch of its own, all at once; the winner is the session.

        The winner is the completed one with the highest `key`, the first of equals; without a
        key, the first that completed. If none did, the session is what it was. Checkpoints of
        the session are dropped when a branch takes its place.
        """
        snippets = checked_snippets(snippets)
        branches = await self.fork(len(snippets))
        self._expiry.work()
        try:
            runs = [
                branch.run(code, limits=limits)
                for branch, code in zip(branches, snippets, strict=True)
            ]
            found = await best_of(runs, key)
            if found.winner is not None:
                winner = branches[found.winner]
                await self._turns.wait(lambda: self._become(winner))
            return found
        finally:
            self._expiry.rest()
            _close_all(branches)
            await asyncio.gather(*(branch.close() for branch in branches))

    async def try_run(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> Outcome:
        """Run `code` and keep what it did to the variables only if it completed.

        Otherwise they are as before, and the outcome's `state` says `rolled_back`.
        """
        mark = await self.checkpoint()
        try:
            outcome = await self.run(code, limits=limits, stdin=stdin)
            if outcome.status == "completed" or outcome.state != "kept":
                return outcome
            await self.rollback(mark)
            return outcome.model_copy(update={"state": "rolled_back"})
        finally:
            self._drop(mark, "it belonged to a try that is over")

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        check_code(code)
        return await self._turns.take(lambda live: live.check(code), grace_s=self._grace_s)

    async def close(self) -> None:
        """End the session's processes and throw its files away. May be called again.

        A snippet that runs is ended; its caller, and that of anything else of the session, gets
        SessionClosed.
        """
        if os.getpid() != self._made_in:
            return
        self._begin_close()
        if self._closing is not None:
            await wait_for_end(self._closing, within_s=CLOSED_WITHIN_S)

    @property
    def _grace_s(self) -> float:
        return self._options.limits.grace_s

    def _request(
        self,
        code: str,
        limits: Limits | None,
        stdin: str | None,
        script: str | None,
        tools: HostTools | None,
    ) -> SnippetRequest:
        return SnippetRequest.of(
            code,
            stdin=stdin,
            limits=limits,
            policy_limits=self._options.limits,
            script=script,
            tools=self._tools.beside(tools),
        )

    async def _run(self, request: SnippetRequest, sink: Sink | None) -> Outcome:
        return await self._turns.take_here(
            lambda live: live.run(request, sink),
            grace_s=request.limits.grace_s,
            on_cancel=self.interrupt,
        )

    # ---- the end --------------------------------------------------------------------------------

    def _begin_close(self) -> None:
        """Close it; `_closing` is what is left to wait for, if anything is."""
        if self._is_closed:
            return
        self._is_closed = True
        self._expiry.end()
        if self._live is None:
            return
        if self._turns.is_taken:
            self._closing = in_background(self._close_in_turn(self._live))
        else:
            self._end(self._live)

    async def _close_in_turn(self, live: LiveSession) -> None:
        # Killing the processes wakes the task that holds the turn. Wait for it before closing the
        # files: what it has a thread do with them goes to its end.
        live.worker.kill()
        await self._turns.wait(lambda: self._end(live))

    def _end(self, live: LiveSession) -> None:
        self._give_back(live)
        live.forget_files()

    def _give_back(self, live: LiveSession) -> None:
        worker = live.end()
        if worker is not None:
            self._supply.give_back(worker)

    def _begin(self, live: LiveSession) -> None:
        self._live = live
        self._expiry.begin()

    async def _renew(self, lost: LiveSession) -> LiveSession:
        """Go on with the files of `lost` in a new process."""
        fresh = await renewed(lost, self._supply, self._give_back)
        if self._is_closed:
            self._end(fresh)
            raise SessionClosed
        self._live = fresh
        return fresh

    async def _settle(self) -> None:
        """Be in a process, if that of the last snippet was lost."""
        if self._live is not None and self._live.is_renewable:
            await self._turns.take(_nothing, grace_s=self._grace_s)

    def _branch(self, live: LiveSession) -> "AsyncSession":
        branch = AsyncSession(self._supply, self._policy, tools=self._tools)
        branch._options = self._options
        branch._begin(live)
        return branch

    def _become(self, branch: "AsyncSession") -> None:
        """Go on as `branch`, which is closed by this; what this session was is ended."""
        taken, before = branch._alive(), self._alive()
        branch._expiry.work()  # It may have been frozen while others still ran.
        branch._expiry.end()
        branch._is_closed = True
        self._live, branch._live = taken, None
        self._end(before)

    def _drop(self, checkpoint: Checkpoint, why: str) -> None:
        """Drop `checkpoint`, once nothing is under way: it may be what is rolled back to."""
        if self._turns.is_taken:
            in_background(self._turns.wait(lambda: self._drop_now(checkpoint, why)))
        else:
            self._drop_now(checkpoint, why)

    def _drop_now(self, checkpoint: Checkpoint, why: str) -> None:
        if self._live is not None:
            self._live.checkpoints.drop(checkpoint, why)

    def _pause(self, *, stopped: bool) -> None:
        if self._live is not None:
            self._live.pause(stopped=stopped)

    def _expire(self) -> None:
        """End the processes; the files stay for the retention time."""
        live = self._live
        is_lost = live is None or (live.loss is not None and not live.is_renewable)
        if live is not None and not is_lost and not self._is_closed:
            live.is_renewable = False
            live.loss = SessionExpired("its time to live was over")
            self._give_back(live)
            self._expiry.retain()

    def _forget_files(self) -> None:
        if self._live is not None:
            self._live.forget_files()

    # ---- what is there --------------------------------------------------------------------------

    def _alive(self) -> LiveSession:
        if os.getpid() != self._made_in:
            raise StaleProcess("The session", self._made_in, os.getpid())
        if self._is_closed:
            raise SessionClosed
        if self._live is None:
            raise SessionClosed(was_opened=False)
        self._live.check_alive()
        return self._live

    def _kept_files(self) -> SessionFiles:
        """The workspace of a live session, or of one that expired not long ago."""
        live = self._live
        if live is not None and isinstance(live.loss, SessionExpired) and live.files.is_open:
            return live.files
        return self._alive().files


async def _nothing(_live: LiveSession) -> None:
    """It is enough that there was a turn."""


def _close_all(sessions: Sequence[AsyncSession]) -> None:
    """Begin to close them, without waiting."""
    for session in sessions:
        session._begin_close()
