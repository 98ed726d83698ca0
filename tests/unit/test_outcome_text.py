"""An outcome as a model reads it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import PolicyError, as_on_a_terminal
from sandbox.outcome import Artifact, Completed, Denial, ErrorInfo, LimitExceeded, Raised
from sandbox.session.host_tools import Tools

HELD = {"tier": "namespaces", "layers": ("seccomp",)}


def test_a_completed_snippet_shows_its_value_and_output():
    text = Completed(stdout="a\nb\n", text="42", **HELD).for_model()
    assert text == "completed\nvalue: 42\nstdout:\na\nb"


def test_an_error_comes_before_what_was_printed():
    error = ErrorInfo(type="ValueError", message="no", traceback="Traceback\n  line 1\n")
    text = Raised(stdout="x" * 100_000, error=error, **HELD).for_model(max_chars=1_000)
    assert text.startswith("raised ValueError: no\nTraceback\n  line 1\nstdout:\nxxx")
    assert "characters left out" in text
    assert len(text) <= 1_000


def test_a_progress_bar_is_shown_as_a_terminal_leaves_it():
    text = Completed(stdout="10%\r20%\r100%\ndone\r\n", **HELD).for_model()
    assert text == "completed\nstdout:\n100%\ndone"


def test_limits_refusals_files_and_a_rollback_are_told():
    text = LimitExceeded(
        limit="wall_s",
        allowed=2,
        observed=2.1,
        state="rolled_back",
        artifacts=(Artifact(path="a.txt", size_bytes=1, mime="text/plain", sha256=None),),
        denials=(Denial(layer="import", tried="socket", rule="socket", hint="no network"),),
        **HELD,
    ).for_model()
    assert text.splitlines() == [
        "ended: wall_s is limited to 2",
        "files: a.txt (made)",
        "refused:",
        "socket: refused by import (no network)",
        "The variables are as they were before this snippet.",
    ]


@given(st.text(max_size=3000), st.text(max_size=3000), st.integers(0, 2000))
def test_the_budget_holds_for_any_output(stdout: str, stderr: str, budget: int):
    text = Completed(stdout=stdout, stderr=stderr, **HELD).for_model(max_chars=budget)
    assert len(text) <= max(budget, 200)
    assert text.startswith("completed")


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("0%\r50%\r100%\n", "100%"),
        ("a\r\nb\r\n", "a\nb"),
        ("100 of 100\r 99", " 99 of 100"),
        ("loading...\r\x1b[Kdone", "done"),
        ("abc\b\bX", "aXc"),
        ("one\rtwo\nthree", "two\nthree"),
        ("kept\r", "kept"),
    ],
)
def test_what_a_line_overwrote_of_itself_is_not_shown(written: str, seen: str) -> None:
    assert as_on_a_terminal(written) == seen


@pytest.mark.parametrize("text", ["x" * 1_000_000, "x" * 500_000 + "\ry" * 200_000])
def test_a_long_line_takes_no_time(text: str) -> None:
    began = time.process_time()
    assert len(as_on_a_terminal(text)) >= 500_000
    assert time.process_time() - began < 2


@pytest.mark.parametrize("budget", ["500", 1.5, None, True])
def test_a_budget_that_is_no_number_is_named(budget):
    with pytest.raises(PolicyError, match="max_chars"):
        Completed(**HELD).for_model(max_chars=budget)


@pytest.mark.parametrize("tools", [{"for": print}, {"None": print}, {"f": print}])
def test_what_is_no_function_for_a_snippet_is_named_in_a_line(tools):
    with pytest.raises(PolicyError) as seen:
        Tools(tools)
    assert "\n" not in str(seen.value)
    assert "errors.pydantic.dev" not in str(seen.value)
