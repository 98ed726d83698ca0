"""A worker in the service of a session, with its files, checkpoints and place in time.

`AsyncSession` is the face: it orders calls, counts the time to live and says what is closed. What
becomes another when a branch takes a session's place is all in here, so that one attribute is
swapped.
"""

import asyncio
import contextlib
import posixpath
from dataclasses import dataclass

from sandbox.errors import (
    EngineTimeout,
    FileRefused,
    PolicyError,
    SessionError,
    SessionLost,
)
from sandbox.files.file_snapshots import FileSnapshots, Snapshot
from sandbox.files.pace import NO_PACE, Pace
from sandbox.files.session_files import SessionFiles
from sandbox.files.workspace import Listing, changes, deleted
from sandbox.network.access import NetworkAccess
from sandbox.outcome import Artifact, Outcome
from sandbox.policy.arguments import check_number
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.processes.worker import Worker
from sandbox.protocol.messages import Check, Checked, Message
from sandbox.protocol.plan import CHECKPOINTS_CAP
from sandbox.session.checkpoints import Checkpoint, Checkpoints, CheckpointState
from sandbox.session.network import SessionNetwork
from sandbox.session.runs.copies_memory import make_room
from sandbox.session.runs.outcomes import outcome_of, too_much_held
from sandbox.session.runs.request import SnippetRequest
from sandbox.session.runs.run_output import Sink
from sandbox.session.runs.snippet_run import Fault, Gone, Ran, SnippetRun
from sandbox.session.runs.timers import Alarm

HASH_HERE_BYTES = 4 * 1024 * 1024
"""Artifacts up to this size together are hashed on the loop; more goes to a thread."""
DESCRIBED_HERE = 32
COMPARED_HERE = 1000
"""Files before and after; more are compared and described in a thread."""
CHECKPOINTS_KEPT = 8
CHECKPOINT_BYTES = 512 * 1024 * 1024
CHECK_TIMEOUT_S = 30.0
FILES_LEFT_CAP = 100
RAW_OUTPUT = ".output"
"""Directory of the workspace for the bytes of a stream that were no UTF-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """What a session and its branches have in common."""

    limits: Limits
    survive: bool
    takes_files_back: bool
    checkpoints: int
    checkpoint_bytes: int
    access: NetworkAccess | None = None

    @classmethod
    def of(
        cls,
        policy: Policy,
        *,
        survive: bool | None,
        checkpoints: int,
        checkpoint_bytes: int,
        access: NetworkAccess | None = None,
    ) -> "SessionOptions":
        """Options under `policy`. Raises PolicyError."""
        for name, value in (
            ("checkpoints", checkpoints),
            ("checkpoint_bytes", checkpoint_bytes),
        ):
            check_number(name, value, "Give a whole number", kinds=(int,))
        if not 1 <= checkpoints <= CHECKPOINTS_CAP:
            raise PolicyError(
                "checkpoints", f"is {checkpoints}", f"Keep from 1 to {CHECKPOINTS_CAP}"
            )
        return cls(
            limits=policy.limits,
            survive=policy.survive if survive is None else survive,
            takes_files_back=policy.files == "rollback",
            checkpoints=checkpoints,
            checkpoint_bytes=checkpoint_bytes,
            access=access,
        )


class LiveSession:
    """What a session is at one time. Calls come one at a time; `AsyncSession` sees to that."""

    def __init__(self, worker: Worker, options: SessionOptions) -> None:
        self.worker = worker
        self.files = SessionFiles.of(worker)
        self.checkpoints = Checkpoints(
            worker, most=options.checkpoints, bytes_cap=options.checkpoint_bytes
        )
        self.loss: SessionError | None = None
        """Why it can be used no more."""
        self.is_renewable = False
        """Whether a new process can go on with the files, when there is a loss: see `renewal`."""
        self.number = 0
        """How many snippets were run."""
        self._options = options
        self._snapshots = FileSnapshots(self.files.workspace) if options.takes_files_back else None
        self._marked_files: dict[int, Snapshot] = {}
        self._listing: Listing | None = {}
        self._running: SnippetRun | None = None
        self._alarm = Alarm()
        self._is_ended = False
        self._origin: LiveSession | None = None
        """What it was branched from."""
        self._network = SessionNetwork(options.access, worker)
        self._hearing = worker.heard_by(self)
        self._hearing.__enter__()

    def continued(self, worker: Worker) -> "LiveSession":
        """The session that goes on from here on `worker`, a branch."""
        branch = LiveSession(worker, self._options)
        branch.number = self.number
        branch._origin = self
        branch.forget_listing()
        return branch

    # ---- whether it lives -----------------------------------------------------------------------

    @property
    def _why_gone(self) -> str:
        """Why its processes are gone, where the engine did not end them for themselves."""
        origin = self._origin
        while origin is not None:
            if origin._is_ended:
                return "the session that it was branched from was closed, and its branches with it"
            origin = origin._origin
        return "its processes were ended from outside"

    def check_alive(self) -> None:
        """Raise why it can be used no more, if so."""
        if self.is_renewable:
            return
        if self.loss is None and not self.worker.is_live:
            self.loss = SessionLost(self._why_gone)
        if self.loss is not None:
            raise self.loss

    def lose(self, error: SessionError) -> None:
        """End its processes; further calls raise `error`."""
        if self.loss is None:
            self.loss = error
        self.worker.kill()

    def end(self) -> Worker | None:
        """Let go of the worker, which is the caller's to give back; None if that was done."""
        if self._is_ended:
            return None
        self._is_ended = True
        self._network.close()
        self._alarm.close()
        self.checkpoints.close()
        self._hearing.__exit__(None, None, None)
        return self.worker

    def forget_files(self) -> None:
        """Give back what the host holds of the files."""
        if self._snapshots is not None:
            self._snapshots.close()
        self.files.close()

    def forget_listing(self) -> None:
        """Have the files listed anew before the next snippet: they were changed."""
        self._listing = None

    def pause(self, *, stopped: bool) -> None:
        """Stop its processes, or let them go on."""
        if not self._is_ended and self.worker.is_live:
            self.worker.pause(stopped=stopped)

    # ---- what the worker tells while no snippet runs --------------------------------------------

    def on_guest(self, message: Message) -> None:
        self.lose(SessionLost(f"{type(message).__name__} while no snippet ran"))

    def on_fault(self, said: str | None) -> None:
        self.lose(SessionLost(said or "it closed its channel"))

    def on_exit(self, _status: int) -> None:
        self.lose(SessionLost("its process ended"))

    def on_gone(self) -> None:
        """Do nothing: `check_alive` finds it."""

    # ---- snippets -------------------------------------------------------------------------------

    async def run(self, request: SnippetRequest, sink: Sink | None) -> Outcome:
        """Run a snippet and say how it ended."""
        worker, allowed = self.worker, request.limits
        before = await self.files.list_apart() if self._listing is None else self._listing
        self.number += 1
        await self._network.serve()
        group, taken = worker.group, None
        marks = self.checkpoints.pids
        try:
            await worker.commands.begin_snippet()
            if group is not None:
                copies = marks if marks or self._options.survive else None
                held = await make_room(worker, group, allowed.memory_bytes, copies)
                if held:
                    return too_much_held(worker, allowed, held)
            if self._snapshots is not None:
                taken = await asyncio.to_thread(self._snapshots.take)
                self.check_alive()
            self._running = SnippetRun(
                worker,
                request,
                number=self.number,
                survive=self._options.survive,
                spare=marks,
                sink=sink,
                alarm=self._alarm,
            )
            ran = await self._running.run()
        finally:
            self._running = None
            worker.commands.end_snippet()
            if group is not None:
                group.limit_memory(self._options.limits.memory_bytes)
        if taken is not None and self._snapshots is not None and ran.state == "rolled_back":
            restored = await asyncio.to_thread(self._snapshots.restore, taken)
            before = {**restored, **self.files.outside_of(before)}
        if request.function:
            artifacts: tuple[Artifact, ...] = ()
            self.forget_listing()
        else:
            artifacts = await self._artifacts(before, ran)
        if ran.state == "lost":
            self._note_loss(ran, request)
        if isinstance(ran.end, Gone) and ran.breach is None:
            raise self.loss or SessionLost(self._why_gone)
        outcome = outcome_of(worker, ran, artifacts, allowed, self._network.bill())
        if self.is_renewable:
            left = tuple(self._listing or ())[:FILES_LEFT_CAP]
            return outcome.model_copy(update={"files_left": left})
        return outcome

    def interrupt(self) -> None:
        """End the snippet that runs now, if there is one."""
        if self._running is not None:
            self._running.interrupt()

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        try:
            answer = await self.worker.guest.ask(Check("check", code), within_s=CHECK_TIMEOUT_S)
        except TimeoutError:
            self.lose(SessionLost("it did not answer a check"))
            raise EngineTimeout("the check of a snippet", CHECK_TIMEOUT_S) from None
        if not isinstance(answer, Checked):
            self.lose(SessionLost(f"{type(answer).__name__} in answer to a check"))
            self.check_alive()
            raise AssertionError  # It was lost.
        return answer

    def _note_loss(self, ran: Ran, request: SnippetRequest) -> None:
        why = "a snippet was ended and no copy of the session was left to go on with"
        if isinstance(ran.end, Gone):
            why = self._why_gone
        self.loss = SessionLost(why)
        # A fault is hostile, and a program has its session to itself.
        is_over = isinstance(ran.end, Gone | Fault) and ran.breach is None
        self.is_renewable = not is_over and request.script is None

    # ---- going back -----------------------------------------------------------------------------

    async def checkpoint(self, name: str | None) -> Checkpoint:
        """Copy the variables, and the files if they are to come back with them."""
        made = await self.checkpoints.add(name, self.number)
        if self._snapshots is not None:
            self._marked_files[made.id] = await asyncio.to_thread(self._snapshots.take)
            self.check_alive()
        return made

    async def rollback(self, checkpoint: Checkpoint) -> None:
        """Put the variables back, and the files if they come back with them."""
        await self.checkpoints.restore(checkpoint)
        if self._snapshots is not None:
            files = self._marked_files[checkpoint.id]
            restored = await asyncio.to_thread(self._snapshots.restore, files)
            self._listing = {**restored, **await self.files.outside_apart()}
            self.check_alive()

    async def list_checkpoints(self) -> list[CheckpointState]:
        """The checkpoints that can be rolled back to, oldest first."""
        return await self.checkpoints.list()

    # ---- files ----------------------------------------------------------------------------------

    async def _artifacts(self, before: Listing, ran: Ran) -> tuple[Artifact, ...]:
        self._keep_raw_output(ran)
        after = await self.files.list_apart()
        self._listing = after
        if len(before) + len(after) > COMPARED_HERE:
            return await asyncio.to_thread(_told, self.files, before, after, Pace())
        found = changes(before, after)
        size = sum(after[path].size_bytes for path in found if path in after)
        if size > HASH_HERE_BYTES or len(found) > DESCRIBED_HERE:
            return await asyncio.to_thread(_describe, self.files, found, Pace())
        return _describe(self.files, found, NO_PACE)

    def _keep_raw_output(self, ran: Ran) -> None:
        """Save the bytes of a stream whose text had to replace some."""
        for name, kept in (("stdout", ran.stdout), ("stderr", ran.stderr)):
            if kept.total and kept.had_invalid:
                path = posixpath.join(RAW_OUTPUT, f"{name}-{self.number}.bin")
                # The guest may have put something of its own in the way, or filled the disk.
                with contextlib.suppress(FileRefused):
                    self.files.put(path, kept.raw())


def _told(files: SessionFiles, before: Listing, after: Listing, pace: Pace) -> tuple[Artifact, ...]:
    return _describe(files, changes(before, after, pace), pace)


def _describe(files: SessionFiles, found: dict[str, str], pace: Pace) -> tuple[Artifact, ...]:
    artifacts: list[Artifact] = []
    for path, change in found.items():
        one = deleted(path) if change == "deleted" else files.describe(path, change)
        if one is not None:
            artifacts.append(one)
        pace()
    return tuple(artifacts)
