"""A run on a Ray cluster: one engine a node, work handed out in batches.

The driver keeps the samples. A node holds one batch at a time and gives all of its verdicts at
once, so a node that is lost has either given a batch or not: its batch goes to another node, and
no sample is counted twice. Nodes need this package and an engine that can isolate there.
"""

import asyncio
import importlib
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runner.evals.errors import BadInput, GradingFailed
from runner.evals.grading.grader import Grader
from runner.evals.grading.retries import decide
from runner.evals.run import Job
from runner.evals.samples.records import Sample, Task, Verdict
from runner.evals.settings import Settings
from runner.evals.suites import SUITES
from runner.extras import install_command

BATCHES_PER_JOB = 4
"""Samples of a batch, for each job of the node."""
START_TRIES = 3


class NodeGrader:
    """The engine of one node; Ray makes an actor of it."""

    def __init__(self, suite: str, settings: str) -> None:
        self._settings = Settings.model_validate_json(settings)
        self._grader = Grader(SUITES[suite](), self._settings)
        self._starting: asyncio.Task[Grader] | None = None

    async def grade(self, batch: list[tuple[Task, Sample]]) -> list[tuple[int, str]]:
        """(index, verdict as JSON) of every sample of `batch`."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._grader.__aenter__())
        grader = await self._starting
        places = asyncio.Semaphore(self._settings.jobs)

        async def one(task: Task, sample: Sample) -> tuple[int, str]:
            async with places:
                verdict = await decide(grader, task, sample, recheck=self._settings.recheck)
            return sample.index, verdict.model_dump_json()

        return await asyncio.gather(*(one(task, sample) for task, sample in batch))

    async def describe(self) -> tuple[str, float, tuple[float, float]]:
        """The policy as JSON, and the speed of this node, with its range."""
        speedometer = self._grader.speedometer
        return self._grader.policy.model_dump_json(), speedometer.speed, speedometer.range

    async def close(self) -> None:
        """End the engine."""
        if self._starting is not None:
            await self._grader.__aexit__(None, None, None)


class RayEngine:
    """Grades on the cluster at `address`; None is the one that is running here, or a new one."""

    def __init__(self, address: str | None = None) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise BadInput(
                "",
                "ray is not installed",
                field="--engine",
                remedy=f"Run: {install_command('ray')}",
            ) from None
        self._address = address
        self.policy: dict[str, object] = {}
        self.speed = 0.0
        self.speed_range: tuple[float, float] = (0.0, 0.0)
        self.lost_nodes = 0

    async def verdicts(
        self, job: Job, samples: Sequence[Sample], settings: Settings
    ) -> AsyncIterator[tuple[Sample, Verdict]]:
        """(sample, verdict) of each of `samples`, from whichever node. Raises GradingFailed."""
        ray = self._ray
        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(address=self._address, log_to_driver=False)
        size = settings.jobs * BATCHES_PER_JOB
        waiting = deque([samples[start : start + size] for start in range(0, len(samples), size)])
        actors: dict[str, Any] = {}
        running: dict[asyncio.Future[Any], tuple[str, Sequence[Sample]]] = {}
        failures: dict[str, int] = {}
        try:
            while waiting or running:
                self._staff(actors, failures, job, settings)
                if not actors:
                    raise GradingFailed("no node of the cluster is left")
                busy = {node for node, _ in running.values()}
                for node, actor in actors.items():
                    if node not in busy and waiting:
                        batch = waiting.popleft()
                        work = [(job.tasks[sample.task_id], sample) for sample in batch]
                        future = asyncio.wrap_future(actor.grade.remote(work).future())
                        running[future] = (node, batch)
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    node, batch = running.pop(future)
                    error = future.exception()
                    if isinstance(error, ray.exceptions.RayActorError):
                        actors.pop(node, None)
                        failures[node] = failures.get(node, 0) + 1
                        self.lost_nodes += 1
                        waiting.appendleft(batch)
                        continue
                    given = dict(future.result())
                    if not self.policy:
                        await self._describe(actors[node])
                    for sample in batch:
                        yield sample, Verdict.model_validate_json(given[sample.index])
        finally:
            for future in running:
                future.cancel()
            await self._close(actors)
            if is_ours:
                ray.shutdown()

    def _staff(
        self, actors: dict[str, Any], failures: dict[str, int], job: Job, settings: Settings
    ) -> None:
        """Have one actor on each node that lives and has not failed too often."""
        ray = self._ray
        affinity = importlib.import_module("ray.util.scheduling_strategies")
        for found in ray.nodes():
            node = found["NodeID"]
            is_fit = found["Alive"] and failures.get(node, 0) < START_TRIES
            if node in actors or not is_fit:
                continue
            strategy = affinity.NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": strategy}
            actors[node] = (
                ray.remote(NodeGrader)
                .options(**options)
                .remote(job.suite.name, settings.model_dump_json())
            )

    async def _describe(self, actor: Any) -> None:
        described = await asyncio.wrap_future(actor.describe.remote().future())
        policy, self.speed, self.speed_range = described
        self.policy = json.loads(policy)

    async def _close(self, actors: dict[str, Any]) -> None:
        for actor in actors.values():
            try:
                await asyncio.wrap_future(actor.close.remote().future())
            except self._ray.exceptions.RayError:
                continue  # It was lost; its node clears up after it.
            self._ray.kill(actor)
