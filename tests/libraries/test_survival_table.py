"""The table of docs/survival.md is what the libraries do: `make test-libraries`."""

import pytest

from sandbox import probe
from tests.jail.corpus import TIERS
from tests.libraries import table
from tests.libraries.works import WORKS, Work

WRITTEN = table.rows_in(table.PAGE.read_text())


@pytest.fixture(scope="module", params=TIERS)
def boxed(request):
    """A sandbox of each tier; skipped with the remedy where it is not possible."""
    for missing in probe().missing_for(request.param):
        pytest.skip(f"{missing.layer}: {missing.seen}. {missing.remedy}")
    with table.sandbox(request.param) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.libraries
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.library)
def test_the_table_is_true(boxed, work: Work) -> None:
    if not table.is_installed(work):
        pytest.skip(f"{work.module} is not installed. Run: make test-libraries")
    if work.needs_proc and boxed.policy.tier != "namespaces":
        pytest.skip("It reads /proc or /sys, which needs namespaces.")
    found = table.row_of(boxed, work)
    written, _how = WRITTEN[work.library]
    if boxed.policy.tier != "namespaces":
        written = written._replace(branch="")  # There are none there.
    assert found == written


def test_every_library_has_its_row() -> None:
    assert {name: how for name, (_row, how) in WRITTEN.items()} == {
        work.library: work.how for work in WORKS
    }
