"""What tests of branches share: limits, how processes are counted, texts of outcomes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox import (
    Limits,
)
from sandbox.outcome import Completed, Outcome
from sandbox.processes import supply

MiB = 1024 * 1024
FIND_HIERARCHIES = supply._find_hierarchies
LIMITS = Limits(processes=40, memory_bytes=256 * MiB)
COUNTED_BY = ("cgroups", "meter")


@contextmanager
def counting_by(what: str) -> Iterator[None]:
    """Sandboxes whose first session starts meanwhile find cgroups, or as if none were."""
    with pytest.MonkeyPatch.context() as patch:
        find = FIND_HIERARCHIES if what == "cgroups" else lambda: None
        patch.setattr(supply, "_find_hierarchies", find)
        yield


def text(outcome: Outcome) -> str | None:
    assert isinstance(outcome, Completed), outcome
    return outcome.text
