"""What figures were drawn from, as charts of their kinds."""

import datetime
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.guest.display import bundles, figure_data

plt = pytest.importorskip("matplotlib.pyplot", reason="pip install 'cellblock[data]'")


@pytest.fixture(autouse=True)
def without_a_window() -> None:
    plt.switch_backend("Agg")


@pytest.fixture
def figure() -> Iterator[Any]:
    made = plt.figure()
    yield made
    plt.close(made)


def data_of(figure: Any) -> dict[str, Any]:
    figure.canvas.draw()
    found = figure_data.data_of(figure)
    assert found is not None
    told: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return told


def test_lines_have_points_scales_ticks_and_units(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [1.0, 10.0, math.nan], label="growth")
    axes.plot([0, 1], [2, 3])
    axes.set(xlabel="Time (s)", ylabel="Size", title="How it grows", yscale="log")
    found = data_of(figure)
    assert (found["type"], found["title"]) == ("line", "How it grows")
    assert (found["x_label"], found["x_unit"]) == ("Time (s)", "s")
    assert (found["y_label"], found["y_unit"], found["y_scale"]) == ("Size", None, "log")
    assert len(found["x_ticks"]) == len(found["x_tick_labels"])
    first, second = found["elements"]
    assert first == {"label": "growth", "points": [[0, 1], [1, 10], [2, None]]}
    assert second == {"label": "", "points": [[0, 2], [1, 3]]}


def test_times_and_names_on_an_axis_are_told_as_they_were_given(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([datetime.date(2026, 11, 30), datetime.date(2026, 12, 1)], ["a", "b"])
    found = data_of(figure)
    assert (found["x_scale"], found["y_scale"]) == ("datetime", "categorical")
    [[when, first], [_, second]] = found["elements"][0]["points"]
    assert (when[:10], first, second) == ("2026-11-30", "a", "b")


def test_points_of_a_scatter(figure: Any) -> None:
    figure.subplots().scatter([1, 2], [3, 4], label="seen")
    found = data_of(figure)
    assert (found["type"], found["title"]) == ("scatter", None)
    assert found["elements"] == [{"label": "seen", "points": [[1, 3], [2, 4]]}]


@pytest.mark.parametrize("draw", ["bar", "barh"])
def test_bars_have_their_names_groups_and_values(figure: Any, draw: str) -> None:
    getattr(figure.subplots(), draw)(["x", "y"], [3, -4], label="sold")
    found = data_of(figure)
    assert found["type"] == "bar"
    assert found["elements"] == [
        {"label": "x", "group": "sold", "value": 3},
        {"label": "y", "group": "sold", "value": -4},
    ]


def test_slices_of_a_pie(figure: Any) -> None:
    figure.subplots().pie([90, 10], labels=["no", "yes"])
    assert data_of(figure)["elements"] == [
        {"label": "no", "angle": 324, "radius": 1},
        {"label": "yes", "angle": 36, "radius": 1},
    ]


@pytest.mark.parametrize("filled", [True, False])
def test_boxes_with_their_outliers(figure: Any, filled: bool) -> None:
    axes = figure.subplots()
    axes.boxplot([[85, 90, 78, 92, 88], [95, 89, 76, 91, 84, 87]], patch_artist=filled)
    axes.set_xticklabels(["a", "b"])
    found = data_of(figure)
    assert found["type"] == "box_and_whisker"
    first, second = found["elements"]
    assert [first[name] for name in ("label", "min", "median", "max")] == ["a", 78, 88, 92]
    assert (second["first_quartile"], second["third_quartile"]) == (84.75, 90.5)
    assert (first["outliers"], second["outliers"]) == ([], [76])


def test_several_axes_are_one_chart_of_charts(figure: Any) -> None:
    left, right = figure.subplots(1, 2)
    left.plot([1, 2])
    right.add_artist(plt.Circle((0, 0), 1))
    figure.suptitle("both")
    found = data_of(figure)
    assert (found["type"], found["title"]) == ("superchart", "both")
    assert [one["type"] for one in found["elements"]] == ["line", "unknown"]


def test_too_much_has_a_picture_alone(figure: Any) -> None:
    figure.subplots().plot(range(figure_data.VALUES_CAP))
    figure.canvas.draw()
    assert figure_data.data_of(figure) is None


def test_it_is_told_where_the_environment_asks_for_it(
    figure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure.subplots().plot([1, 2])
    assert figure_data.MIME not in bundles.bundle_of(figure, "figure").data
    monkeypatch.setenv(figure_data.ASKED, "1")
    told = bundles.bundle_of(figure, "figure").data[figure_data.MIME]
    assert json.loads(told)["elements"][0]["points"] == [[0, 1], [1, 2]]
