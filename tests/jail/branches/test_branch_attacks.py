"""Every attack is contained in a branch, and neither its origin nor the host is touched."""

from collections.abc import Iterator

import pytest

from sandbox import (
    Session,
)
from sandbox.outcome import outcome_to_json
from tests.jail.bait import Bait
from tests.jail.branching import COUNTED_BY, counting_by, text
from tests.jail.corpus import Attack
from tests.jail.test_attacks import (
    ATTACKS,
    Arena,
    assert_ended_as,
    assert_tells_nothing,
    hang_is_a_failure,
    read_back,
    run_all,
)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[Arena, Session]]:
    """A sandbox with a session from which every attacked branch is forked."""
    with Bait() as bait:
        with counting_by(request.param):
            arena = Arena("namespaces", bait)
        with arena.box.session() as origin:
            text(origin.run("untouched = 'x'"))
            yield arena, origin
        arena.close()


TRIED = [
    *((COUNTED_BY[0], attack) for attack in ATTACKS),
    *((COUNTED_BY[1], attack) for attack in ATTACKS if attack.category == "memory"),
]


@pytest.mark.parametrize(
    ("ground", "attack"),
    TRIED,
    ids=[f"{attack.name}, {counted}" for counted, attack in TRIED],
    indirect=["ground"],
)
def test_the_attack_is_contained_in_a_branch(ground: tuple[Arena, Session], attack: Attack) -> None:
    arena, origin = ground
    before = arena.bait.state()
    with hang_is_a_failure():
        with origin.fork() as branch:
            outcome = run_all(branch, attack, arena)
            assert_ended_as(outcome, attack.expected["namespaces"])
            assert_tells_nothing(outcome_to_json(outcome), arena)
            read_back(branch, attack, arena, outcome)
        assert arena.bait.state() == before, "the attack touched the host"
        assert text(origin.run("untouched")) == "'x'"
        assert origin.files() == []
