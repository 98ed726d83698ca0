"""The fuzz targets hold for their seeds and for bytes that hypothesis thinks of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPORA, TARGETS, kept


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds_and_for_parts_of_them(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        for end in range(len(seed) + 1):
            target.run(seed[:end])


@given(st.sampled_from(sorted(TARGETS)), st.binary(max_size=300))
def test_a_target_holds_for_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_inputs_in_the_tree_are_few_small_and_hold() -> None:
    assert {path.stem for path in CORPORA.iterdir()} <= set(TARGETS)
    for name, target in TARGETS.items():
        found = kept(name)
        assert len(found) <= 64
        for data in found:
            assert len(data) <= 600
            target.run(data)
