"""What all tests share: `--require-jail`, `--require-model`, marks, examples without a time limit.

A missing layer or model skips a test with its remedy; under its option such a test fails. A test
with the mark `corpora` runs where CELLBLOCK_DATA says, and is skipped where it says nothing.
"""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from sandbox import LayerUnavailable, probe
from sandbox.doctor.features import PROBED, FeatureReport
from tests import corpora

# How long an example takes is no finding: the machine has other work.
settings.register_profile("cellblock", deadline=None)
settings.load_profile("cellblock")


def pytest_configure() -> None:
    # What a shell starts in the background ignores interrupts, and so would all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-jail",
        action="store_true",
        help="fail a test whose layer is missing on this machine, instead of skipping it",
    )
    parser.addoption(
        "--require-model",
        action="store_true",
        help="fail a test of the embedded model where that is not installed, instead of skipping",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(corpora.VARIABLE):
        return
    for item in items:
        if item.get_closest_marker("corpora"):
            item.add_marker(pytest.mark.skip(reason=corpora.HOW_TO_GET))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None and call.excinfo.errisinstance(LayerUnavailable):
        missing = explanation(probe())
        if missing and not item.config.getoption("--require-jail"):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.reportinfo()[1] or 0, f"Skipped: {missing}")
    elif report.skipped and item.config.getoption("--require-jail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if names_a_layer(reason):
            report.outcome = "failed"
            report.longrepr = f"A layer is missing, and --require-jail was given. {reason}"
    return report


def explanation(report: FeatureReport) -> str:
    """The layers that some tier needs and that do not hold, with remedies; empty if all hold."""
    missing = report.missing_for("namespaces")
    names = ", ".join(found.layer for found in missing)
    remedies = dict.fromkeys(f"{found.seen}. {found.remedy}." for found in missing)
    return f"{names}: {' '.join(remedies)}" if missing else ""


def names_a_layer(reason: str) -> bool:
    """Whether the reason of a skip is a missing layer: it starts with the layer's name."""
    first = reason.removeprefix("Skipped: ").partition(":")[0].partition(",")[0]
    return first in PROBED
