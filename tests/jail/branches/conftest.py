"""A sandbox of the full tier, once with cgroups and once as if there were none."""

from collections.abc import Iterator

import pytest

from sandbox import (
    Policy,
    Sandbox,
    Session,
)
from tests.jail.branching import COUNTED_BY, LIMITS, counting_by, text


@pytest.fixture(scope="module", params=COUNTED_BY)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of the full tier, once with cgroups and once as if there were none."""
    with Sandbox(Policy(limits=LIMITS), pool_size=1) as opened:
        with counting_by(request.param):
            opened.session().close()
        yield opened


@pytest.fixture
def session(box: Sandbox) -> Iterator[Session]:
    with box.session() as opened:
        text(opened.run("import os, signal, socket, sys, threading, time"))
        yield opened
