"""Results of a snippet as E2B's clients read them, whatever a guest wrote there."""

import json

import pytest

from runner.server.e2b.executions import line_bytes, result_line

TABLE = {
    "shape": [2, 1],
    "columns": ["a"],
    "dtypes": ["int64"],
    "index": [0, 1],
    "rows": [[1], [2]],
}


def result_of(text: str) -> dict[str, object]:
    line: dict[str, object] = json.loads(
        line_bytes(result_line({"application/json": text}, is_main=False))
    )
    assert line.pop("type") == "result"
    assert line.pop("is_main_result") is False
    return line


def test_a_whole_table_is_there_by_its_columns() -> None:
    assert result_of(json.dumps(TABLE)) == {"data": {"a": [1, 2]}}


def test_a_series_is_a_table_of_one_column() -> None:
    assert result_of(json.dumps({**TABLE, "shape": [2]})) == {"data": {"a": [1, 2]}}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [9, 1]},
        {"shape": [2, 2]},
        {"shape": None},
        {"shape": []},
        {"shape": 2},
        {"rows": [[1], 2]},
        {"rows": [[1], []]},
        {"rows": "ab"},
        {"columns": 1},
        {"columns": ["a", "b"]},
    ],
)
def test_what_is_no_whole_table_has_no_columns(change: dict[str, object]) -> None:
    assert result_of(json.dumps({**TABLE, **change})) == {}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "NaN"])
def test_what_is_no_json_is_text(text: str) -> None:
    assert result_of(text) == {"json": text}
