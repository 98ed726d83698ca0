"""Session: state that persists over snippets, on one worker, with the files beside it.

The module is longer than others: one object is all that its user sees of a session.
"""

import asyncio
import contextlib
import json
import os
import posixpath
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, overload

from sandbox import events
from sandbox.errors import (
    FileRefused,
    GuestFault,
    PolicyError,
    SandboxError,
    SessionClosed,
    SessionError,
    SessionExpired,
    SessionLost,
    StaleProcess,
)
from sandbox.outcome import Artifact, Outcome
from sandbox.policy.limits import Limits, merged
from sandbox.processes.cgroup import SessionGroup
from sandbox.processes.worker import Worker
from sandbox.protocol.messages import CODE_CAP_BYTES, TO_GUEST_CAP_BYTES, Check, Checked, Message
from sandbox.protocol.plan import CHECKPOINTS_CAP
from sandbox.session.checkpoints import Checkpoint, Checkpoints, CheckpointState, to_its_end
from sandbox.session.expiry import RETENTION_S, Expiry
from sandbox.session.file_snapshots import FileSnapshots, Snapshot
from sandbox.session.outcomes import outcome_of, too_much_held
from sandbox.session.run import Gone, Ran, Sink, SnippetRun
from sandbox.session.workspace import Listing, Workspace, changes, deleted

if TYPE_CHECKING:
    from sandbox.engine import AsyncSandbox

HASH_HERE_BYTES = 4 * 1024 * 1024
"""Artifacts up to this size together are hashed on the loop; more goes to a thread."""
CHECKPOINTS_KEPT = 8
CHECKPOINT_BYTES = 512 * 1024 * 1024
CHECK_TIMEOUT_S = 30.0
GIVING_BACK_CHECKS = 10
GIVING_BACK_S = 0.02
RAW_OUTPUT = ".output"
"""Directory of the workspace for the bytes of a stream that were no UTF-8."""


class BestOf(NamedTuple):
    """What `best_of` came to: the index of the winner, None if nothing completed."""

    winner: int | None
    outcomes: tuple[Outcome, ...]


class AsyncSession:
    """Variables, imports and files that persist from one snippet to the next.

    Made by `AsyncSandbox.session()`; either awaited or entered as a context manager. One snippet
    runs at a time; a second caller waits its turn.
    """

    def __init__(
        self,
        box: "AsyncSandbox",
        *,
        survive: bool | None = None,
        checkpoints: int = CHECKPOINTS_KEPT,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        ttl_s: float | None = None,
        retention_s: float = RETENTION_S,
    ) -> None:
        if not 1 <= checkpoints <= CHECKPOINTS_CAP:
            raise PolicyError(
                "checkpoints", f"is {checkpoints}", f"Keep from 1 to {CHECKPOINTS_CAP}"
            )
        self._checkpoints = checkpoints
        self._checkpoint_bytes = checkpoint_bytes
        self._box = box
        self._limits = box.policy.limits
        self._survive = box.policy.survive if survive is None else survive
        self._made_in = os.getpid()
        self._turn = asyncio.Lock()
        self._worker: Worker | None = None
        self._files: Workspace | None = None
        self._listing: Listing | None = {}
        self._copies: Checkpoints | None = None
        self._number = 0
        self._running: SnippetRun | None = None
        self._is_closed = False
        self._loss: SessionError | None = None
        self._takes_files_back = box.policy.files == "rollback"
        self._snapshots: FileSnapshots | None = None
        self._marked_files: dict[int, Snapshot] = {}
        self._expiry = Expiry(
            ttl_s=ttl_s,
            retention_s=retention_s,
            freeze=lambda: self._pause(stopped=True),
            thaw=lambda: self._pause(stopped=False),
            expire=self._expire,
            forget=self._forget_files,
        )

    async def __aenter__(self) -> Self:
        await self._open()
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
    def enforcement(self) -> tuple[str, ...]:
        """Names of the layers that hold for this session."""
        return self._live_worker().layers

    async def run(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> Outcome:
        """Run `code` and give back how it ended.

        `limits` replaces what it sets of the policy's limits, for this call. `stdin` is what the
        snippet reads; without it reads meet the end of the file. Raises SessionClosed,
        SessionLost, PolicyError. When the calling task is cancelled the snippet is interrupted.
        """
        return await self._run(code, limits, stdin, None)

    async def stream(
        self, code: str, *, limits: Limits | None = None, stdin: str | None = None
    ) -> AsyncIterator[events.Event]:
        """Events of `run` as they happen; the last one is `Finished` with the outcome.

        Leaving the loop early interrupts the snippet.
        """
        queue: asyncio.Queue[events.Event | None] = asyncio.Queue()
        task = asyncio.ensure_future(self._run(code, limits, stdin, queue.put_nowait))
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
        if self._running is not None:
            self._running.interrupt()

    async def put(self, path: str, data: bytes | str) -> None:
        """Write `data` to the file `path` of the workspace; text as UTF-8. Raises FileRefused."""
        content = data.encode() if isinstance(data, str) else data
        self._workspace().put(path, content)
        self._listing = None

    async def get(self, path: str) -> bytes:
        """The content of the regular file `path` of the workspace. Raises FileRefused.

        Works for the retention time after the session expired, too.
        """
        return self._kept_files().get(path)

    async def files(self) -> list[str]:
        """Paths of the regular files of the workspace, sorted. As `get` after an expiry."""
        return list(self._kept_files().listing())

    async def remove(self, path: str) -> None:
        """Remove the file `path` of the workspace; nothing if it is not there."""
        self._workspace().remove(path)
        self._listing = None

    @property
    def expires_at(self) -> float | None:
        """When the session expires, in seconds since the epoch; None for never."""
        return self._expiry.expires_at

    async def extend(self, ttl_s: float) -> None:
        """Let the session expire `ttl_s` seconds from now, and not before."""
        self._live_worker()
        self._expiry.extend(ttl_s)

    async def checkpoint(self, name: str | None = None) -> Checkpoint:
        """A handle to the variables as they are now, for `rollback`.

        The oldest is dropped first when there are too many. Raises CopyRefused where
        live threads or child processes forbid a faithful copy. When the calling task is cancelled
        there is no checkpoint, and the session goes on.
        """
        made: list[Checkpoint] = []

        async def mark(copies: Checkpoints) -> None:
            made.append(await copies.add(name, self._number))
            if self._snapshots is not None:
                self._marked_files[made[0].id] = await asyncio.to_thread(self._snapshots.take)
                self._live_worker()

        async with self._turn, self._exchange() as copies:
            try:
                await to_its_end(mark(copies))
            except asyncio.CancelledError:
                for checkpoint in made:
                    copies.drop(checkpoint, "nobody waited for it any more")
                raise
            return made[0]

    async def rollback(self, checkpoint: Checkpoint) -> None:
        """Put the variables back to what they were at `checkpoint`, which stays.

        Processes that the session started since are ended. Files stay as they are, unless the
        policy says `files="rollback"`. Raises CheckpointDropped. A call that is cancelled once it
        has begun is carried out all the same.
        """

        async def go_back(copies: Checkpoints) -> None:
            await copies.restore(checkpoint)
            if self._snapshots is not None:
                files = self._marked_files[checkpoint.id]
                self._listing = await asyncio.to_thread(self._snapshots.restore, files)
                self._live_worker()

        async with self._turn, self._exchange() as copies:
            await to_its_end(go_back(copies))

    async def checkpoints(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first, with the memory of each."""
        async with self._turn, self._exchange() as copies:
            return await to_its_end(copies.list())

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
        if n < 1:
            raise PolicyError("n", f"is {n}", "Ask for at least one branch")
        async with self._turn, self._exchange():
            workers = await self._box.branch(self._live_worker(), n)
            return [self._new_branch(worker) for worker in workers]

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
        branches = await self.fork(len(snippets))
        self._expiry.work()
        try:
            runs = (
                branch.run(code, limits=limits)
                for branch, code in zip(branches, snippets, strict=False)
            )
            outcomes = await asyncio.gather(*runs)
            completed = [i for i, outcome in enumerate(outcomes) if outcome.status == "completed"]
            if not completed:
                return BestOf(None, tuple(outcomes))
            scores = {i: key(outcomes[i]) if key is not None else 0.0 for i in completed}
            winner = max(completed, key=lambda index: (scores[index], -index))
            async with self._turn:
                await self._become(branches[winner])
            return BestOf(winner, tuple(outcomes))
        finally:
            self._expiry.rest()
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
            if self._copies is not None:
                self._copies.drop(mark, "it belonged to a try that is over")

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        async with self._turn:
            worker = self._live_worker()
            if self._copies is not None:
                await self._copies.settle()
            answer: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()

            def take(message: Message) -> None:
                if isinstance(message, Checked) and not answer.done():
                    answer.set_result(message)

            worker.on_guest = take
            worker.on_fault = lambda said: self._fail(answer, GuestFault(said or "it went away"))
            worker.on_gone = lambda: self._fail(answer, SessionLost("its process ended"))
            worker.guest.send(Check("check", code))
            try:
                return await to_its_end(asyncio.wait_for(answer, CHECK_TIMEOUT_S))
            except SessionError:
                if self._is_closed:
                    raise SessionClosed from None
                raise
            finally:
                self._rest(worker)

    async def close(self) -> None:
        """End the session's processes and throw its files away. May be called again.

        A snippet that runs is ended; who waits for it, or for anything else of the session, gets
        SessionClosed.
        """
        if self._is_closed or os.getpid() != self._made_in:
            return
        self._is_closed = True
        self._expiry.end()
        if self._turn.locked() and self._worker is not None:
            # The end of the processes tells who has the turn, and must be listening for it till
            # then. What it has a thread do, with the files, goes to its end.
            self._worker.kill()
            async with self._turn:
                pass
        await self._end_worker()
        self._forget_files()

    # ---- running --------------------------------------------------------------------------------

    async def _open(self) -> None:
        if self._worker is None and not self._is_closed:
            self._adopt(await self._box.take())
            self._expiry.begin()

    def _adopt(self, worker: Worker) -> None:
        plan = worker.plan
        self._worker = worker
        self._files = Workspace(
            os.dup(worker.directories[0]),
            owner=plan.session_host_id(worker.identity),
            bytes_cap=plan.workspace_bytes,
            files_cap=plan.workspace_files,
        )
        if self._takes_files_back:
            self._snapshots = FileSnapshots(self._files)
        self._copies = Checkpoints(worker, most=self._checkpoints, bytes_cap=self._checkpoint_bytes)
        self._rest(worker)

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[Checkpoints]:
        """Talk to the session's processes between snippets; the caller holds the turn."""
        worker, copies = self._go_to_work()
        try:
            await copies.settle()
            yield copies
        except SandboxError:
            if self._is_closed:
                raise SessionClosed from None
            raise
        finally:
            self._come_to_rest(worker)

    def _go_to_work(self) -> tuple[Worker, Checkpoints]:
        worker = self._live_worker()
        assert self._copies is not None
        self._expiry.work()
        return worker, self._copies

    def _come_to_rest(self, worker: Worker) -> None:
        if worker.is_live:
            self._rest(worker)
        self._expiry.rest()

    async def _run(
        self, code: str, limits: Limits | None, stdin: str | None, sink: Sink | None
    ) -> Outcome:
        allowed = merged(self._limits, limits)
        _check_length("code", code)
        _check_length("stdin", stdin or "")
        async with self._turn:
            worker, copies = self._go_to_work()
            try:
                await copies.settle()
                return await self._run_alone(worker, code, allowed, stdin, sink)
            finally:
                self._come_to_rest(worker)

    async def _run_alone(
        self, worker: Worker, code: str, allowed: Limits, stdin: str | None, sink: Sink | None
    ) -> Outcome:
        """As `_run`, for the one whose turn it is."""
        assert self._files is not None
        files = self._files
        before = files.listing() if self._listing is None else self._listing
        self._number += 1
        run = SnippetRun(
            worker,
            code,
            number=self._number,
            limits=allowed,
            stdin=stdin,
            survive=self._survive,
            spare=tuple(self._copies.pids) if self._copies is not None else (),
            sink=sink,
        )
        group = worker.group if allowed.memory_bytes != self._limits.memory_bytes else None
        if group is not None and not await _fits(group, allowed.memory_bytes):
            return too_much_held(worker, allowed, group.held_bytes())
        taken = None
        try:
            if self._snapshots is not None:
                taken = await asyncio.to_thread(self._snapshots.take)
                self._live_worker()
            self._running = run
            ran = await run.run()
        finally:
            self._running = None
            if group is not None:
                group.limit_memory(self._limits.memory_bytes)
        self._rest(worker)
        if taken is not None and self._snapshots is not None and ran.state == "rolled_back":
            before = await asyncio.to_thread(self._snapshots.restore, taken)
        artifacts = await self._artifacts(files, before, ran)
        if ran.state == "lost":
            await self._lose(ran)
        if ran.was_cancelled:
            raise asyncio.CancelledError
        if isinstance(ran.end, Gone) and ran.breach is None:
            raise self._loss or SessionLost("its processes were ended from outside")
        return outcome_of(worker, ran, artifacts, allowed)

    async def _artifacts(self, files: Workspace, before: Listing, ran: Ran) -> tuple[Artifact, ...]:
        self._keep_raw_output(files, ran)
        after = files.listing()
        self._listing = after
        found = changes(before, after)
        if not found:
            return ()
        size = sum(after[path].size_bytes for path in found if path in after)
        if size > HASH_HERE_BYTES:
            return await asyncio.to_thread(_describe, files, found)
        return _describe(files, found)

    def _keep_raw_output(self, files: Workspace, ran: Ran) -> None:
        """Save the bytes of a stream whose text had to replace some."""
        for name, kept in (("stdout", ran.stdout), ("stderr", ran.stderr)):
            if kept.total and kept.had_invalid:
                path = posixpath.join(RAW_OUTPUT, f"{name}-{self._number}.bin")
                # The guest may have put something of its own in the way, or filled the disk.
                with contextlib.suppress(FileRefused):
                    files.put(path, kept.raw())

    async def _lose(self, ran: Ran) -> None:
        why = "a snippet was ended and no copy of the session was left to go on with"
        if isinstance(ran.end, Gone):
            why = "its processes were ended from outside"
        self._loss = SessionClosed() if self._is_closed else SessionLost(why)
        await self._end_worker()

    def _new_branch(self, worker: Worker) -> "AsyncSession":
        branch = AsyncSession(
            self._box,
            survive=self._survive,
            checkpoints=self._checkpoints,
            checkpoint_bytes=self._checkpoint_bytes,
        )
        branch._number = self._number
        branch._adopt(worker)
        branch._listing = None
        branch._expiry.begin()
        return branch

    async def _become(self, branch: "AsyncSession") -> None:
        """Go on as `branch`, which is closed by this; what this session was is ended."""
        worker = branch._live_worker()
        branch._expiry.work()  # It may have been frozen while others still ran.
        branch._worker = None
        branch._expiry.end()
        branch._is_closed = True
        branch._forget_files()
        await self._end_worker()
        self._forget_files()
        self._marked_files.clear()
        self._number = branch._number
        self._adopt(worker)
        self._listing = None

    async def _end_worker(self) -> None:
        if self._copies is not None:
            self._copies.close()
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.on_guest = worker.on_fault = worker.on_exit = worker.on_gone = None
            await self._box.give_back(worker)

    def _pause(self, *, stopped: bool) -> None:
        if self._worker is not None and self._worker.is_live:
            self._worker.pause(stopped=stopped)

    def _expire(self) -> None:
        """End the processes; the files stay for the retention time."""
        if self._loss is None and not self._is_closed:
            self._loss = SessionExpired("its time to live was over")
            self._ending = asyncio.ensure_future(self._end_worker())
            self._expiry.retain()

    def _forget_files(self) -> None:
        if self._snapshots is not None:
            self._snapshots.close()
        if self._files is not None:
            self._files.close()
            self._files = None

    def _kept_files(self) -> Workspace:
        """The workspace of a live session, or of one that expired not long ago."""
        if isinstance(self._loss, SessionExpired) and self._files is not None:
            return self._files
        return self._workspace()

    def _rest(self, worker: Worker) -> None:
        """Between snippets the guest has nothing to say; whatever comes ends the session."""
        worker.on_guest = lambda message: self._on_idle_fault(
            worker, f"{type(message).__name__} while no snippet ran"
        )
        worker.on_fault = lambda said: self._on_idle_fault(worker, said or "it closed its channel")
        worker.on_exit = lambda _status: self._on_idle_fault(worker, "its process ended")
        worker.on_gone = None

    def _on_idle_fault(self, worker: Worker, said: str) -> None:
        if self._loss is None:
            self._loss = SessionLost(said)
        worker.kill()

    @staticmethod
    def _fail(future: "asyncio.Future[Checked]", error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    def _live_worker(self) -> Worker:
        if os.getpid() != self._made_in:
            raise StaleProcess("The session", self._made_in, os.getpid())
        if self._is_closed:
            raise SessionClosed
        if self._loss is not None:
            raise self._loss
        if self._worker is None:
            raise SessionClosed("session that was never opened")
        if not self._worker.is_live:
            self._loss = SessionLost("its processes were ended from outside")
            raise self._loss
        return self._worker

    def _workspace(self) -> Workspace:
        self._live_worker()
        assert self._files is not None
        return self._files


async def _fits(group: SessionGroup, memory_bytes: int) -> bool:
    """Limit the memory of `group`; False if it holds more, also in a moment."""
    for _ in range(GIVING_BACK_CHECKS):
        if group.limit_memory(memory_bytes):
            return True
        # The standby of the snippet before may not have ended yet.
        await asyncio.sleep(GIVING_BACK_S)
    return False


def _check_length(name: str, text: str) -> None:
    """Raise PolicyError for a text that its half of a frame to the guest could not hold."""
    size = len(text)
    if TO_GUEST_CAP_BYTES // 24 < size <= CODE_CAP_BYTES:
        size = len(json.dumps(text)) // 2  # Escaped, a character takes up to 12 bytes.
    if size > CODE_CAP_BYTES:
        raise PolicyError(
            name,
            f"has {len(text)} characters, about {CODE_CAP_BYTES} fit",
            "Put it into a file of the workspace",
        )


def _describe(files: Workspace, found: dict[str, str]) -> tuple[Artifact, ...]:
    artifacts = (
        deleted(path) if change == "deleted" else files.describe(path, change)
        for path, change in found.items()
    )
    return tuple(artifact for artifact in artifacts if artifact is not None)
