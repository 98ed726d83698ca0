"""The fuzz targets hold for their seeds and for bytes that hypothesis thinks of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


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
