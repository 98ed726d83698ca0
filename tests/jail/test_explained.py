"""Forty snippets, explained: every hostile one is flagged, no benign one is above a note."""

from collections.abc import Iterator

import pytest

from runner.commands.explaining.verdict import judge
from sandbox import Limits, Policy, Sandbox, Verdict
from tests.unit.test_review import BENIGN, HOSTILE

LIMITS = Limits(wall_s=150, cpu_s=150, processes=24, grace_s=0.2)


@pytest.fixture(scope="module")
def explained() -> Iterator[Sandbox]:
    with Sandbox(Policy(trace=True, keep_going=True, limits=LIMITS), pool_size=1) as opened:
        yield opened


def verdict(box: Sandbox, code: str, limits: Limits) -> Verdict:
    with box.session() as session:
        findings = session.check(code).findings
        return judge(session.run(code, limits=limits), findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_snippet_is_flagged(explained: Sandbox, name: str) -> None:
    found = verdict(explained, HOSTILE[name], Limits(wall_s=3, processes=24, grace_s=0.2))
    assert found.severity in ("warning", "danger"), found.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", BENIGN)
def test_a_benign_snippet_is_at_most_noted(explained: Sandbox, name: str) -> None:
    found = verdict(explained, BENIGN[name], LIMITS)
    assert found.severity == "note", found.reason
