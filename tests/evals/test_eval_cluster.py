"""On a Ray cluster of two nodes the verdicts are the local ones, also when a node is killed."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import COMPLETIONS, HUMANEVAL, rows

from runner.evals import evaluate
from runner.evals.records import Sample, Verdict

ray = pytest.importorskip("ray", reason="needs the extra 'ray'")

SAMPLES = 120


@pytest.fixture
def cluster() -> Any:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_run_goes_on_when_one_of_two_nodes_is_killed(cluster: Any, tmp_path: Path) -> None:
    from runner.evals.cluster import RayEngine

    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    few = tmp_path / "few.jsonl"
    lines = (COMPLETIONS / "samples.jsonl").read_text().splitlines(keepends=True)[:SAMPLES]
    few.write_text("".join(lines))
    counted: list[int] = []

    def watch(done: int, _total: int, sample: Sample, _verdict: Verdict) -> None:
        counted.append(sample.index)
        if done == 24:
            cluster.remove_node(second, allow_graceful=False)

    engine = RayEngine()
    out = tmp_path / "out.jsonl"
    report = evaluate(
        "humaneval", few, data=HUMANEVAL, timeout_s=5, jobs=2, engine=engine, progress=watch,
        out=out,
    )
    expected = [row["passed"] for row in rows(COMPLETIONS / "expected.jsonl")[:SAMPLES]]
    assert [verdict.passed for verdict in report.verdicts] == expected
    assert sorted(counted) == list(range(SAMPLES))
    assert engine.lost_nodes >= 1
    local = evaluate("humaneval", few, data=HUMANEVAL, timeout_s=5, jobs=2)
    theirs = [(verdict.outcome, verdict.result) for verdict in report.verdicts]
    assert theirs == [(verdict.outcome, verdict.result) for verdict in local.verdicts]
    assert json.loads(out.read_text().splitlines()[0])["passed"] == expected[0]
