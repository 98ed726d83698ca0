"""Grading one sample: in a jail of its own, by a judge that the candidate cannot reach.

Trust model
-----------
Trusted: this process, the engine, the suite's data. Hostile: every sample, from its first byte.

Each sample gets a fresh jail, which ends with it. The judge is never in the candidate's process:
it holds the tests and says the verdict, never runs, unpickles or compares by the methods of
anything that the candidate made, and imports nothing from a place that the candidate can write.
There are two ways to bring them together.

    beforehand   What a test will ask is found out without a candidate. The candidate is asked
                 all of it, alone in its jail, and its answers go to a judge in another jail that
                 serves many (`bench`). It runs the test on these answers. If it asks for anything
                 else, or the candidate ended too early to tell, nothing is decided, and the
                 sample goes the other way. The judge's process runs nothing but tests that change
                 nothing in it; others get a fork of it.
    alive        Two processes in one jail. The judge is the session's own process and says the
                 verdict on the engine's channel. The candidate is forked from it before it was
                 told a single test, with all descriptors but two pipes closed; its code starts
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

import asyncio
import hashlib
import importlib.resources
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from runner.evals.errors import GradingFailed
from runner.evals.grading.shared_judge import Said, SharedJudge, TestPlan
from runner.evals.grading.verdicts import STDERR_CAP, by_end, by_word, ending, most_of, spent_by
from runner.evals.samples.records import Json, Sample, Spent, Task, Verdict
from runner.evals.settings import HASH_SEED, RANDOM_SEED, Settings
from runner.evals.suites.base import Answer, Judged, Program, Reference, Suite
from sandbox import (
    AsyncSandbox,
    AsyncSession,
    Completed,
    Died,
    EnvironmentFailed,
    LimitExceeded,
    Limits,
    Outcome,
    Policy,
    Raised,
    Refused,
)

GUEST = "runner.evals.guest"
PARTS = ("codec", "candidate", "compare", "tests", "literals", "compiled", "judge", "replay")
WARMUP = f"{GUEST}.warmup"
"""Loads the parts, and uses them so that sessions find them adapted."""
PRELOAD = (
    "bisect",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "heapq",
    "inspect",
    "itertools",
    "json",
    "linecache",
    "marshal",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "traceback",
    "typing",
    "unittest",
    "unittest.mock",
)
"""What tests and candidates import most; each jail has it from the start."""
WARM = 2
"""Jails kept ready, for each candidate that runs."""
FIRST_LOOK_S = 0.25
"""CPU seconds that a candidate gets at first, on a machine of the reference speed."""
REFERENCE_CAP_BYTES = 1024 * 1024

COMPILE = """
import base64, json, marshal, zlib
base64.b64encode(zlib.compress(marshal.dumps([(name, compile(text, '<' + name + '>', 'exec',
    dont_inherit=True)) for name, text in json.loads({parts!a})]), 9)).decode()
"""
START_SENT = """
import sys as _sys, marshal as _marshal, base64 as _base64, types as _types, zlib as _zlib
for _name, _code in _marshal.loads(_zlib.decompress(_base64.b64decode({parts!r}))):
    _module = _sys.modules[_name] = _types.ModuleType(_name)
    exec(_code, _module.__dict__)
"""
FIND = "import sys as _sys\n_{part} = _sys.modules['" + GUEST + ".{part}']\n"
HASHES = """
import hashlib, json, sys
json.dumps([hashlib.sha256(open(sys.modules[name].__file__, 'rb').read()).hexdigest()
            for name in {names!r}])
"""
FORK = FIND.format(part="judge") + "_judge = _judge.Judge.fork({source}, {place!r})\n"
RECITE = FIND.format(part="candidate") + (
    "_candidate.recite({source}, {place!r}, __import__('json').loads({asked!a}))"
)
EXAMINE = "import json as _json\n_judge.verdict(_json.loads({check!a}))"
REFERENCE = FIND.format(part="judge") + (
    "print(_judge.reference_values(*__import__('json').loads({given!a}), {cap}))"
)
SEED = f"""
import random as _random, sys as _sys
_random.seed({RANDOM_SEED})
if 'numpy.random' in _sys.modules:
    _sys.modules['numpy.random'].seed({RANDOM_SEED})
del _random, _sys
"""
CALIBRATE = """
import time as _time
def _loop():
    began, total, table = _time.process_time(), 0, {}
    for number in range(150_000):
        total = (total * 31 + number) % 1_000_003
        table[number & 1023] = total
    return _time.process_time() - began
print(min(_loop() for _ in range(5)))
"""
REFERENCE_LOOP_S = 0.02
"""What the loop takes on a machine of speed 1."""


class Grader:
    """Grades samples of one suite. Start and stop it as an async context manager.

    At most `settings.jobs` candidates run at once, however many calls of `grade` are under way.
    """

    def __init__(self, suite: Suite, settings: Settings) -> None:
        self._suite = suite
        self._settings = settings
        self.policy = self._policy((WARMUP,))
        self._box = AsyncSandbox(self.policy, pool_size=WARM * settings.jobs)
        self._start = ""
        self._bench: SharedJudge | None = None
        self._places = asyncio.Semaphore(settings.jobs)
        self._references: dict[str, tuple[Reference, asyncio.Task[dict[str, Json]]]] = {}
        self.speed = 1.0
        """CPU seconds here for one second of a machine of the reference speed."""

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
                processes=64,
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
        for _reference, task in self._references.values():
            task.cancel()
        if self._bench is not None:
            await self._bench.close()
        await self._box.close()

    async def grade(self, task: Task, sample: Sample, *, slack: float = 1.0) -> Verdict:
        """The verdict of one run; `slack` stretches its limits. Engine trouble raises.

        Raises BadInput, GradingFailed, SandboxError.
        """
        trial = self._suite.trial(task, sample)
        if isinstance(trial, Answer):
            return _compared(trial.accept(trial.text, trial.expected), "the answer is another one")
        if isinstance(trial, Program):
            return await self._run_program(trial, slack)
        return await self._examine(task, trial, slack)

    # ---- a judge and a candidate ----------------------------------------------------------------

    async def _examine(self, task: Task, trial: Judged, slack: float) -> Verdict:
        check = dict(trial.check)
        if trial.reference is not None:
            check |= await self._reference(task, trial.reference)
        if not trial.files and self._bench is not None:
            test = await self._bench.plan(task.task_id, check)
            if test is not None:
                with self._bench.pending():
                    verdict = await self._recite(self._bench, test, trial, slack)
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
            outcome = await session.run(examine, limits=self._limits(slack))
        return self._verdict(outcome)

    async def _recite(
        self, bench: SharedJudge, test: TestPlan, trial: Judged, slack: float
    ) -> Verdict | None:
        """The verdict by what the candidate answers beforehand; None if that does not decide."""
        code = self._start + RECITE.format(
            source=json.dumps(trial.source), place=trial.place, asked=test.asked
        )
        whole = self._limits(slack)
        # Many a wrong program loops for ever behind its first wrong answer, which is enough.
        short = self._limits(slack, at_most_s=FIRST_LOOK_S)
        for limits in (short, whole) if short != whole else (whole,):
            async with self._jail() as session:
                outcome = await session.run(code, limits=limits)
            if isinstance(outcome, Raised) or outcome.truncated.stdout.dropped_bytes:
                return None
            if any(denial.layer == "protocol" for denial in outcome.denials):
                # The engine ends such a process at once: what it had said by then is chance.
                return Verdict(
                    outcome="failed",
                    result="failed: its process spoke out of turn",
                    usage=spent_by(outcome),
                )
            said = await bench.verdict(test, outcome.stdout)
            if isinstance(said, Said):
                return by_word(said, outcome)
            if not said.is_end:
                return None
            is_late = isinstance(outcome, LimitExceeded) and outcome.limit in ("cpu_s", "wall_s")
            if limits == whole or not is_late:
                break
        if isinstance(outcome, LimitExceeded | Refused | Died):
            return by_end(outcome, spent_by(outcome), outcome.stderr[-STDERR_CAP:])
        return None

    @asynccontextmanager
    async def _jail(self) -> AsyncIterator[AsyncSession]:
        """A jail for one run, once there is a place for it to run in.

        The next candidate gets the place while this one's jail is taken down.
        """
        session = self._box.session()
        try:
            async with self._places:
                await session
                yield session
        finally:
            await session.close()

    @staticmethod
    def _verdict(outcome: Outcome) -> Verdict:
        if isinstance(outcome, Completed):
            try:
                said = Said.model_validate_json(outcome.text or "")
            except ValidationError as error:
                raise GradingFailed("the judge ended without a verdict") from error
            return by_word(said, outcome)
        usage, stderr = spent_by(outcome), outcome.stderr[-STDERR_CAP:]
        if isinstance(outcome, LimitExceeded | Refused | Died):
            return by_end(outcome, usage, stderr)
        # Nothing in the judge raises by itself: somebody interrupted it.
        return Verdict(
            outcome="failed",
            result=f"failed: the judge was disturbed: {ending(outcome)}",
            error=outcome.error.type,
            stderr=stderr,
            usage=usage,
        )

    async def _reference(self, task: Task, reference: Reference) -> dict[str, Json]:
        """What a judge is told of the reference's values, computed once a task in its own jail.

        Where they are long the judge is given the solution and computes them again.
        """
        of_what, known = self._references.get(task.task_id, (None, None))
        is_lost = known is not None and known.done() and (known.cancelled() or known.exception())
        if known is None or is_lost or of_what != reference:
            known = asyncio.ensure_future(self._compute(reference))
            self._references[task.task_id] = reference, known
        return await asyncio.shield(known)

    async def _compute(self, reference: Reference) -> dict[str, Json]:
        given = json.dumps([reference.source, reference.entry, reference.groups, reference.rule])
        outcome = await self._box.run(
            self._start + REFERENCE.format(given=given, cap=REFERENCE_CAP_BYTES),
            limits=Limits(cpu_s=120.0, wall_s=300.0),
        )
        if not isinstance(outcome, Completed):
            raise GradingFailed(f"the reference solution did not run: {ending(outcome)}")
        values: dict[str, list[Json]] = json.loads(outcome.stdout)["values"]
        groups: dict[str, Json] = {
            name: [
                [args, value]
                for args, value in zip(rows, values.get(name, [None] * len(rows)), strict=True)
            ]
            for name, rows in reference.groups.items()
        }
        return {
            "groups": groups,
            "reference": [] if values else [reference.source, reference.entry],
        }

    # ---- whole programs -------------------------------------------------------------------------

    async def _run_program(self, trial: Program, slack: float) -> Verdict:
        spent = Spent()
        for number, case in enumerate(trial.cases, 1):
            async with self._jail() as session:
                await _put(session, trial.files)
                await session.run(SEED)
                outcome = await session.run(
                    trial.source, stdin=case.stdin, limits=self._limits(slack)
                )
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

    def _limits(self, slack: float, *, at_most_s: float = math.inf) -> Limits:
        cpu_s = min(self._settings.timeout_s * slack, at_most_s) * self.speed
        return Limits(cpu_s=cpu_s, wall_s=cpu_s * self._settings.wall_factor)

    def cpu_limit_s(self) -> float:
        """CPU seconds that a sample may take here."""
        return self._settings.timeout_s * self.speed

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
        self._bench = SharedJudge(self._box, self._start + FIND.format(part="replay"))
        if self._settings.speed is not None:
            self.speed = self._settings.speed
            return
        outcome = await self._box.run(CALIBRATE)
        try:
            loop_s = float(outcome.stdout)
        except ValueError:
            raise GradingFailed(f"the calibration did not run: {ending(outcome)}") from None
        self.speed = min(10.0, max(0.5, loop_s / REFERENCE_LOOP_S))

    async def _echo(self, code: str) -> str:
        """The text that the trusted snippet `code` ends with."""
        outcome = await self._box.run(code)
        if not isinstance(outcome, Completed) or outcome.text is None:
            raise GradingFailed(f"the judge is not fit for use: {ending(outcome)}")
        return outcome.text.strip("'\"")


async def _put(session: AsyncSession, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        await session.put(name, content)


def _compared(is_right: bool, otherwise: str) -> Verdict:
    if is_right:
        return Verdict(outcome="passed", result="passed")
    return Verdict(outcome="failed", result=f"failed: {otherwise}")
