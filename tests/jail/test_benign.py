"""Ordinary programs run to their end in both jailed tiers, and nothing of them is refused."""

from collections.abc import Iterator

import pytest

from sandbox import Policy, Sandbox
from sandbox.outcome import Outcome, Raised
from sandbox.processes import cgroup
from tests.jail import corpus
from tests.jail.corpus import Tier, Use

USES = corpus.uses()
PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")
DRAW = "import numpy\n(numpy.random.random(), numpy.random.default_rng().random())"


@pytest.fixture(scope="module")
def room(tier: Tier) -> Iterator[Sandbox]:
    """A sandbox of the tier with its libraries loaded before any session."""
    with Sandbox(Policy(tier=tier, preload=PRELOAD), pool_size=2) as opened:
        yield opened


def test_the_corpus_is_large_enough() -> None:
    assert len(USES) >= 50
    assert len({use.uses for use in USES}) == len(USES)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
def test_the_program_runs_as_it_would_without_a_jail(room: Sandbox, use: Use) -> None:
    if room.policy.tier not in use.tiers or not has_what_is_counted(use):
        return assert_is_refused_politely(room, use)
    stdout, shown = "", set[str]()
    with room.session() as session:
        for snippet in use.snippets:
            outcome = session.run(snippet, stdin=use.stdin)
            assert outcome.status == "completed", told(outcome)
            assert outcome.denials == ()
            stdout += outcome.stdout
            shown |= {mime for bundle in outcome.displays for mime in bundle}
        left = session.files()
    assert stdout == use.stdout
    assert use.text is None or outcome.text == use.text
    assert shown >= set(use.shows)
    assert set(left) >= set(use.files)


def has_what_is_counted(use: Use) -> bool:
    """Whether what the program uses is to be had without cgroups, or there are some."""
    return "memfd_create" not in use.uses or cgroup.find() is not None


def assert_is_refused_politely(room: Sandbox, use: Use) -> None:
    """What a tier does not promise must fail as a Python error, not as a crash or a hang."""
    with room.session() as session:
        outcomes = [session.run(snippet, stdin=use.stdin) for snippet in use.snippets]
    assert {outcome.status for outcome in outcomes} <= {"completed", "raised"}


def test_two_sessions_draw_different_numbers(room: Sandbox) -> None:
    with room.session() as one, room.session() as other:
        drawn = {one.run(DRAW).text, other.run(DRAW).text}
    assert len(drawn) == 2
    assert None not in drawn


def told(outcome: Outcome) -> str:
    return outcome.error.traceback if isinstance(outcome, Raised) else repr(outcome)
