"""A long look at files in a thread rests, and finds what one at one go finds."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.files import pace as module
from sandbox.files.pace import NO_PACE, Pace, in_order
from sandbox.files.workspace import Workspace

FILES = 1200


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How often a pace rested, where every step has taken long enough."""
    found: list[float] = []
    monkeypatch.setattr(module, "BURST_S", -1.0)
    monkeypatch.setattr(module.time, "sleep", found.append)
    return found


@given(st.sets(st.text(max_size=3)), st.integers(1, 5))
def test_names_are_sorted_in_steps_as_at_one_go(names: set[str], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SORTED_AT_ONCE", step)
        assert in_order(names, NO_PACE) == sorted(names)


def test_a_listing_of_many_files_rests_in_its_thread_and_one_of_few_never(
    tmp_path: Path, rests: list[float]
) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    files = Workspace(fd, owner=None, bytes_cap=1 << 20, files_cap=10_000)
    try:
        (tmp_path / "one").write_text("")
        assert list(asyncio.run(files.list_apart())) == ["one"]
        assert rests == []
        for number in range(FILES):
            (tmp_path / f"f{number:05}").write_text("")
        found = asyncio.run(files.list_apart())
        assert list(found) == [*(f"f{number:05}" for number in range(FILES)), "one"]
        assert len(rests) >= FILES
    finally:
        files.close()


def test_a_pace_rests_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    monkeypatch.setattr(module.time, "sleep", rested.append)
    monkeypatch.setattr(module, "BURST_S", 60.0)
    pace = Pace()
    for _ in range(1000):
        pace()
    assert rested == []
