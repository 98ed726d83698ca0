"""On a Ray cluster of two nodes the verdicts are the local ones, also when a node is killed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from runner.evals import Report, evaluate, evaluate_async
from runner.evals.cluster import RayEngine
from runner.evals.samples.records import Sample, Verdict
from tests.corpora import OWN, SAMPLES_HAVE_S, rows

KILLED_AFTER = 12
WITHIN_S = 300.0
HEALTH = {  # A lost node is noticed within two seconds, not half a minute.
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}


@pytest.fixture
def cluster() -> Any:
    arguments = {"num_cpus": 1, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_run_goes_on_when_one_of_two_nodes_is_killed(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    counted: list[int] = []

    def watch(done: int, _total: int, sample: Sample, _verdict: Verdict) -> None:
        counted.append(sample.index)
        if done == KILLED_AFTER:
            cluster.remove_node(second, allow_graceful=False)

    engine = RayEngine()
    out = tmp_path / "out.jsonl"

    async def grade() -> Report:
        async with asyncio.timeout(WITHIN_S):
            return await evaluate_async(
                "humaneval",
                OWN["samples"],
                data=OWN["humaneval"],
                timeout_s=SAMPLES_HAVE_S,
                jobs=1,
                engine=engine,
                out=out,
                progress=watch,
            )

    report = asyncio.run(grade())
    expected = [row["passed"] for row in OWN.rows("expected")]
    assert [verdict.passed for verdict in report.verdicts] == expected
    assert sorted(counted) == list(range(len(expected)))
    assert engine.lost_nodes >= 1
    local = evaluate(
        "humaneval", OWN["samples"], data=OWN["humaneval"], timeout_s=SAMPLES_HAVE_S, jobs=2
    )
    theirs = [(verdict.outcome, verdict.result) for verdict in report.verdicts]
    assert theirs == [(verdict.outcome, verdict.result) for verdict in local.verdicts]
    assert rows(out)[0]["passed"] == expected[0]
