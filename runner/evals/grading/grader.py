"""Grading one sample: in a jail of its own, by a judge that the candidate cannot reach.

Trust model
-----------
Trusted: this process, the engine, the suite's data. Hostile: every sample, from its first byte.

Each run of a sample gets a jail in which nothing has happened, and which ends with it but for what
the engine proves to be untouched (`AsyncSandbox.kept_jails`; with `fresh_jails` all of it is made
anew). The judge is never in the candidate's process:
it holds the tests and says the verdict, never runs, unpickles or compares by the methods of
anything that the candidate made, and imports nothing from a place that the candidate can write.
There are two ways to bring them together.

    beforehand   What a test will ask is found out without a candidate. The candidate is asked
                 all of it, alone in its jail, and its answers go to a judge in another jail that
                 serves many (`shared_judge`). It runs the test on these answers. If it asks for
                 anything else, or the candidate ended too early to tell, nothing is decided, and
                 the sample goes the other way. The judge's process runs nothing but tests that
                 change nothing in it; others get a fork of it.
    alive        Two processes in one jail. The judge is the session's own process and says the
                 verdict on the engine's channel. The candidate is forked from it before it was
                 given a single test, with all descriptors but two pipes closed; its code starts
                 only then. It can kill or stop the judge, as it can end itself: then there is no
                 verdict of a pass but a crash or a time-out.

Either way the candidate has no expected value in its memory, no way to the channel of the
verdict (not dumpable, no ptrace, no pidfd_getfd), and what it prints goes to /dev/null. What it
patches, it patches for itself.

How the suites use that:

    calls, inputs, value     Tests run in the judge; a call of the candidate's function is a
                             message, and what comes back is rebuilt as plain data of exact
                             built-in types. An object is a stand-in that equals nothing. So to
                             forge is to return the right values. Calls and inputs are asked
                             beforehand. HumanEval(+), MBPP(+), CRUXEval, custom tasks.
    programs, answers        One run a case; the expected output never enters the jail and the
                             host compares. Contest problems, DABench.
    unittest                 The method itself puts tests beside the candidate (patches, files,
                             types). They arrive after the candidate's code was loaded. Every
                             assertion over plain values that held there is sent to the judge
                             and decided again; every test that the source has must have run,
                             and asserted; the tools of the tests must be what they were, and
                             tests that cannot pass must fail. What remains: a candidate that
                             reads the tests in its own memory and writes a whole consistent
                             story to the pipe; and assertions over objects, which are counted
                             as `unseen` in the details. ClassEval, BigCodeBench.
    context                  As unittest, without the values: objects of numpy or pandas are
                             compared beside the candidate. A result that brings its own `__eq__`
                             is refused, and a solution that must fail is run after it. What
                             remains: a candidate that patches the comparison for some values
                             only. DS-1000.

A missing library, a broken test, a lost engine are `infrastructure`: tried again, never scored.
"""

import hashlib
import importlib.resources
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from runner.evals.errors import GradingFailed
from runner.evals.grading.places import Places
from runner.evals.grading.references import References
from runner.evals.grading.shared_judge import Ruling, SharedJudge, TestPlan
from runner.evals.grading.snippets import (
    ANSWER_CALL,
    ASK_BEFOREHAND,
    COMPILE,
    EXAMINE,
    FIND,
    FORK,
    GUEST,
    HASHES,
    PARTS,
    PRELOAD,
    SEED,
    START_SENT,
    WARMUP,
)
from runner.evals.grading.speed import Speedometer
from runner.evals.grading.verdicts import STDERR_CAP, by_end, by_ruling, ending, most_of, spent_by
from runner.evals.samples.records import Json, Sample, Spent, Task, Verdict
from runner.evals.settings import HASH_SEED, Settings
from runner.evals.suites.base import Answer, Judged, Program, Suite
from sandbox import (
    AsyncKeptJails,
    AsyncSandbox,
    AsyncSession,
    Completed,
    Died,
    EnvironmentFailed,
    KeptJailSession,
    LimitExceeded,
    Limits,
    Outcome,
    Policy,
    Raised,
    Refused,
)

WARM = 2
"""Jails kept ready, for each candidate that runs."""
FIRST_LOOK = 0.05
"""Part of the limit that a candidate gets at first."""
FIRST_LOOK_S = 0.25
"""CPU seconds that it gets at most, on a machine of the reference speed."""
STRETCH = 1.15
"""What a candidate gets in all, in limits: what ends between one limit and this is named."""
PROCESSES = 64
LOADED = '["value", null]\n'
"""What a candidate that has nothing to run answers to the only question that it gets."""


class Grader:
    """Grades samples of one suite. Start and stop it as an async context manager.

    At most `settings.jobs` candidates run at once (see `Places`), however many calls of `grade`
    are under way.
    """

    def __init__(self, suite: Suite, settings: Settings) -> None:
        self._suite = suite
        self._settings = settings
        self.policy = self._policy((WARMUP,))
        self._box = AsyncSandbox(self.policy, pool_size=WARM * settings.jobs)
        self._jails: AsyncKeptJails | None = None
        self._start = ""
        self._judge: SharedJudge | None = None
        self._references: References | None = None
        self._places = Places(settings.jobs)
        self.speedometer = Speedometer(settings.speed)

    def _policy(self, judge: tuple[str, ...]) -> Policy:
        settings = self._settings
        return Policy(
            preload=(*PRELOAD, *settings.preload, *judge),
            survive=False,
            hash_seed=HASH_SEED,
            limits=Limits(
                memory_bytes=settings.memory_bytes,
                output_bytes=settings.output_bytes,
                kept_bytes=settings.output_bytes,
                grace_s=0.2,
                processes=PROCESSES,
            ),
        )

    async def __aenter__(self) -> Self:
        try:
            await self._box.__aenter__()
            await self._box.run("None")
        except EnvironmentFailed as error:
            await self._box.close()
            if error.module != WARMUP:
                raise
            # The jails' interpreter does not have this package: the judge is sent to each.
            self.policy = self._policy(())
            self._box = AsyncSandbox(self.policy, pool_size=WARM * self._settings.jobs)
            await self._box.__aenter__()
        try:
            await self._prepare()
        except BaseException:
            await self._box.close()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._references is not None:
            self._references.close()
        if self._judge is not None:
            await self._judge.close()
        if self._jails is not None:
            await self._jails.close()
        await self._box.close()

    async def grade(self, task: Task, sample: Sample) -> Verdict:
        """The verdict of one run; engine trouble raises.

        Raises BadInput, GradingFailed, SandboxError.
        """
        trial = self._suite.trial(task, sample)
        if isinstance(trial, Answer):
            return _compared(trial.accept(trial.text, trial.expected), "the answer is another one")
        if isinstance(trial, Program):
            return await self._run_program(trial)
        return await self._examine(task, trial)

    # ---- a judge and a candidate ----------------------------------------------------------------

    async def _examine(self, task: Task, trial: Judged) -> Verdict:
        check = dict(trial.check)
        handling_s = 0.0
        if trial.reference is not None and self._references is not None:
            referred = await self._references.of(task, trial.reference)
            check |= referred.check
            handling_s = referred.handling_s
        if check["kind"] == "value" and self._judge is not None:
            # Nothing of the candidate's runs: its words are read, and the function is the suite's.
            verdict = await self._read_value(self._judge, task, check)
            if verdict is not None:
                return verdict
        # Answers that are too long for a page of text have to be asked for one by one.
        if not trial.files and not handling_s and self._judge is not None:
            test = await self._judge.plan(task.task_id, check)
            if test is not None:
                with self._judge.pending():
                    verdict = await self._ask_beforehand(self._judge, test, trial)
                if verdict is not None:
                    return verdict
        source = json.dumps(trial.source)
        async with self._jail() as session:
            await _put(session, trial.files)
            start = self._start + FORK.format(source=source, place=trial.place)
            begun = await session.run(start, limits=Limits(cpu_s=30.0, wall_s=60.0))
            if not isinstance(begun, Completed):
                raise GradingFailed(f"the judge did not start: {ending(begun)}")
            examine = EXAMINE.format(check=json.dumps(check))
            outcome = await session.run(examine, limits=self._limits(more_s=handling_s))
        verdict = self._verdict(outcome)
        if handling_s:
            return verdict.model_copy(
                update={"details": {**verdict.details, "handling_s": round(handling_s, 3)}}
            )
        return verdict

    async def _read_value(
        self, judge: SharedJudge, task: Task, check: dict[str, Json]
    ) -> Verdict | None:
        """The verdict on a value that a sample names; None if the shared judge has none."""
        test = await judge.plan(task.task_id, check)
        if test is None:
            return None
        with judge.pending():
            ruling = await judge.verdict(test, LOADED)
        return by_ruling(ruling) if isinstance(ruling, Ruling) else None

    async def _ask_beforehand(
        self, judge: SharedJudge, test: TestPlan, trial: Judged
    ) -> Verdict | None:
        """The verdict by what the candidate answers alone; None if that does not decide."""
        source = json.dumps(trial.source)
        # Many a wrong program loops for ever behind its first wrong answer, which is enough.
        for is_first_look in (True, False):
            limits = self._limits(is_first_look=is_first_look)
            async with self._jail() as session:
                if isinstance(session, KeptJailSession) and not self._start:
                    function, form = ANSWER_CALL
                    given = form.format(
                        source=source, place=json.dumps(trial.place), asked=test.asked
                    )
                    outcome = await session.call(function, given, limits=limits)
                else:
                    code = ASK_BEFOREHAND.format(source=source, place=trial.place, asked=test.asked)
                    outcome = await session.run(self._start + code, limits=limits)
            if isinstance(outcome, Raised) or outcome.truncated.stdout.dropped_bytes:
                return None
            if any(denial.layer == "protocol" for denial in outcome.denials):
                # The engine ends such a process at once: what it had answered by then is chance.
                return Verdict(
                    outcome="failed",
                    result="failed: its process spoke out of turn",
                    usage=spent_by(outcome),
                )
            ruling = await judge.verdict(test, outcome.stdout)
            if isinstance(ruling, Ruling):
                return by_ruling(ruling, outcome)
            if not ruling.is_end:
                return None
            is_late = isinstance(outcome, LimitExceeded) and outcome.limit in ("cpu_s", "wall_s")
            if not is_late:
                break
        if isinstance(outcome, LimitExceeded | Refused | Died):
            return by_end(outcome, spent_by(outcome), outcome.stderr[-STDERR_CAP:])
        return None

    @asynccontextmanager
    async def _jail(self) -> AsyncIterator[AsyncSession | KeptJailSession]:
        """A jail for one run, once there is a place for it to run in.

        The next candidate gets the place while this one's jail is taken down, or cleared.
        """
        if self._jails is not None:
            async with self._places.one(), self._jails.session() as kept:
                yield kept
            return
        session = self._box.session()
        try:
            async with self._places.one():
                await session
                yield session
        finally:
            await session.close()

    @staticmethod
    def _verdict(outcome: Outcome) -> Verdict:
        if isinstance(outcome, Completed):
            try:
                ruling = Ruling.model_validate_json(outcome.text or "")
            except ValidationError as error:
                raise GradingFailed("the judge ended without a verdict") from error
            return by_ruling(ruling, outcome)
        usage, stderr = spent_by(outcome), outcome.stderr[-STDERR_CAP:]
        if isinstance(outcome, LimitExceeded | Refused | Died):
            return by_end(outcome, usage, stderr)
        # Nothing in the judge raises by itself: the candidate interrupted it.
        return Verdict(
            outcome="failed",
            result=f"failed: the judge was disturbed: {ending(outcome)}",
            error=outcome.error.type,
            stderr=stderr,
            usage=usage,
        )

    # ---- whole programs -------------------------------------------------------------------------

    async def _run_program(self, trial: Program) -> Verdict:
        spent = Spent()
        for number, case in enumerate(trial.cases, 1):
            async with self._jail() as session:
                await _put(session, trial.files)
                await session.run(SEED)
                outcome = await session.run(trial.source, stdin=case.stdin, limits=self._limits())
            spent = most_of(spent, spent_by(outcome))
            details: dict[str, object] = {"cases": len(trial.cases), "case": number}
            stderr = outcome.stderr[-STDERR_CAP:]
            if isinstance(outcome, LimitExceeded | Refused):
                return by_end(outcome, spent, stderr, details)
            if isinstance(outcome, Died) and outcome.exit_code != 0:
                return by_end(outcome, spent, stderr, details)
            if isinstance(outcome, Raised):
                error = outcome.error
                return Verdict(
                    outcome="out_of_memory" if error.type == "MemoryError" else "failed",
                    result=f"failed: {error.message}"[:4000],
                    error=error.type,
                    stderr=(stderr + error.traceback)[-STDERR_CAP:],
                    usage=spent,
                    details=details,
                )
            is_whole = outcome.truncated.stdout.dropped_bytes == 0
            if not (is_whole and trial.accept(outcome.stdout, case.expected)):
                return Verdict(
                    outcome="failed",
                    result=f"failed: wrong answer in case {number}",
                    stderr=stderr,
                    usage=spent,
                    details=details,
                )
        return Verdict(
            outcome="passed", result="passed", usage=spent, details={"cases": len(trial.cases)}
        )

    # ---- limits ---------------------------------------------------------------------------------

    @property
    def limit_s(self) -> float:
        """Seconds that a sample may take here: of CPU, or of wall time by the reference's rule."""
        if self._settings.limits == "reference":
            return self._settings.timeout_s
        return self._settings.timeout_s * self.speedometer.speed

    def share_of_limit(self, verdict: Verdict) -> float:
        """How much of its limit a sample took; what only the judging took is left out."""
        is_wall = self._settings.limits == "reference"
        spent_s = verdict.usage.wall_s if is_wall else verdict.usage.cpu_s
        handling_s = verdict.details.get("handling_s", 0.0)
        return (spent_s - (handling_s if isinstance(handling_s, float) else 0.0)) / self.limit_s

    async def speed_change(self) -> float:
        """The machine's speed now, in parts of the speed that limits were made of."""
        return await self.speedometer.change(self._box)

    def _limits(self, *, is_first_look: bool = False, more_s: float = 0.0) -> Limits:
        limit_s = self.limit_s
        first_s = min(FIRST_LOOK * limit_s, FIRST_LOOK_S * self.speedometer.speed)
        if self._settings.limits == "reference":
            # The clock on the wall alone counts, as for a harness that sets an alarm.
            wall_s = (first_s if is_first_look else limit_s) + more_s
            return Limits(cpu_s=wall_s * PROCESSES, wall_s=wall_s)
        cpu_s = (first_s if is_first_look else STRETCH * limit_s) + more_s
        return Limits(cpu_s=cpu_s, wall_s=cpu_s * self._settings.wall_factor)

    async def _prepare(self) -> None:
        root = importlib.resources.files(GUEST)
        parts = {f"{GUEST}.{part}": root.joinpath(f"{part}.py").read_bytes() for part in PARTS}
        if WARMUP in self.policy.preload:
            found = json.loads(await self._echo(HASHES.format(names=list(parts))))
            if found != [hashlib.sha256(source).hexdigest() for source in parts.values()]:
                raise GradingFailed("the jails' interpreter has another version of this package")
        else:
            texts = [(name, source.decode()) for name, source in parts.items()]
            compiled = await self._echo(COMPILE.format(parts=json.dumps(texts)))
            self._start = START_SENT.format(parts=compiled)
        if not self._settings.fresh_jails:
            self._jails = self._box.kept_jails()
        self._judge = SharedJudge(self._box, self._start + FIND.format(part="replay"))
        self._references = References(self._box, self._start)
        await self.speedometer.start(self._box)

    async def _echo(self, code: str) -> str:
        """The text that the trusted snippet `code` ends with."""
        outcome = await self._box.run(code)
        if not isinstance(outcome, Completed) or outcome.text is None:
            raise GradingFailed(f"the judge is not fit for use: {ending(outcome)}")
        return outcome.text.strip("'\"")


async def _put(session: AsyncSession | KeptJailSession, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        await session.put(name, content)


def _compared(is_right: bool, otherwise: str) -> Verdict:
    if is_right:
        return Verdict(outcome="passed", result="passed")
    return Verdict(outcome="failed", result=f"failed: {otherwise}")
