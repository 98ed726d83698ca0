"""Bundles of a guest as notebooks get them: no text that it writes is an error of the host."""

import json

import pytest

from runner.bundles import PARSED_CHARS, notebook_bundle

PLOTLY = "application/vnd.plotly.v1+json"


@pytest.mark.parametrize("kind", ["application/json", "application/geo+json", PLOTLY])
def test_json_is_a_value(kind: str) -> None:
    assert notebook_bundle({kind: '{"a": [1, null]}'}) == {kind: {"a": [1, None]}}


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "image/png", "text/json"])
def test_all_else_is_text(kind: str) -> None:
    assert notebook_bundle({kind: "[1]"}) == {kind: "[1]"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[Infinity]",
        "9" * 5000,
        '"\\ud800"',
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        f'"{"a" * PARSED_CHARS}"',
    ],
    ids=["empty", "torn", "nan", "infinity", "digits", "half", "open", "deep", "long"],
)
def test_what_cannot_be_read_stays_as_it_is(text: str) -> None:
    found = notebook_bundle({PLOTLY: text})
    assert found == {PLOTLY: text}
    assert json.loads(json.dumps(found)) == found
