"""What a matplotlib figure was drawn from: lines, points, bars, slices and boxes of its axes.

Told beside the picture where the environment asks for it, for those that draw charts of their
own. matplotlib is never imported here; its objects are told apart by the names of their classes.
"""

import math
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

ASKED = "CELLBLOCK_FIGURE_DATA"
"""The variable of the environment that asks for it."""
MIME = "application/vnd.cellblock.figure+json"
VALUES_CAP = 20_000
"""A figure of more values has its picture alone."""
AXES_CAP = 50
TEXT_CAP = 500
DIGITS = 3
UNIT = re.compile(r"\(([^()]*)\)\s*$")
LINES_OF_A_BOX = 5
"""Two whiskers, two caps, the median; then the outliers, unless they are left out."""
Value = str | float | int | None
Data = dict[str, Any]


class TooMuch(Exception):
    """More values than are told."""


def is_asked() -> bool:
    """Whether figures are to be told so."""
    return bool(os.environ.get(ASKED))


def data_of(figure: Any) -> Data | None:
    """The charts of `figure`, which has been drawn; None for one without axes, or of too much."""
    axes = [one for one in figure.axes if one.get_visible()]
    if not axes or len(axes) > AXES_CAP:
        return None
    reader = _Reader()
    try:
        found = [reader.chart(one) for one in axes]
    except TooMuch:
        return None
    if len(found) == 1:
        return found[0]
    return {"type": "superchart", "title": _text(figure.get_suptitle()), "elements": found}


class _Reader:
    """Reads axes, and counts what it reads."""

    def __init__(self) -> None:
        self._values = 0

    def chart(self, axes: Any) -> Data:
        """One set of axes as a chart of the kind that most of it is."""
        bars = [one for one in axes.containers if _is(one, "BarContainer")]
        wedges = [one for one in axes.patches if _is(one, "Wedge")]
        points = [one for one in axes.collections if _is(one, "PathCollection")]
        lines, boxes = list(axes.lines), _boxes(axes)
        title = {"title": _text(axes.get_title())}
        if wedges:
            self._count(len(wedges))
            return {"type": "pie", **title, "elements": [_slice(one) for one in wedges]}
        if boxes:
            elements = [self._box(one) for one in boxes]
            for element, label in zip(elements, _labels(axes.xaxis), strict=False):
                element["label"] = label
            return {"type": "box_and_whisker", **title, **_names(axes), "elements": elements}
        if bars:
            elements = [element for one in bars for element in self._bars(axes, one)]
            return {"type": "bar", **title, **_names(axes), "elements": elements}
        if lines or points:
            kind, drawn = ("line", lines) if lines else ("scatter", points)
            elements = [self._series(axes, one) for one in drawn]
            return {
                "type": kind,
                **title,
                **_names(axes),
                **self._scale("x", axes.xaxis),
                **self._scale("y", axes.yaxis),
                "elements": elements,
            }
        return {"type": "unknown", **title, "elements": []}

    def _series(self, axes: Any, drawn: Any) -> Data:
        if _is(drawn, "PathCollection"):
            pairs: Sequence[Any] = drawn.get_offsets()
        else:
            pairs = list(zip(drawn.get_xdata(orig=False), drawn.get_ydata(orig=False), strict=True))
        self._count(2 * len(pairs))
        places = [[_place(axes.xaxis, float(x)), _place(axes.yaxis, float(y))] for x, y in pairs]
        return {"label": _label(drawn), "points": places}

    def _bars(self, axes: Any, container: Any) -> list[Data]:
        self._count(len(container.patches))
        is_upright = getattr(container, "orientation", "vertical") != "horizontal"
        axis = axes.xaxis if is_upright else axes.yaxis
        ticks = [round(one, DIGITS) for one in _ticks(axis)]
        names = dict(zip(ticks, _labels(axis), strict=False))
        found = []
        for patch in container.patches:
            value = patch.get_height() if is_upright else patch.get_width()
            low, size = (
                (patch.get_x(), patch.get_width())
                if is_upright
                else (patch.get_y(), patch.get_height())
            )
            middle = float(low) + float(size) / 2
            label = names.get(round(middle, DIGITS)) or str(_place(axis, middle))
            group = _label(container)
            found.append({"label": label, "group": group, "value": _number(value)})
        return found

    def _box(self, lines: Sequence[Any]) -> Data:
        low, high, _, _, median, *fliers = lines
        outliers = [_number(value) for one in fliers for value in one.get_ydata()]
        self._count(len(outliers) + LINES_OF_A_BOX)
        return {
            "label": "",
            "min": _number(low.get_ydata()[1]),
            "first_quartile": _number(low.get_ydata()[0]),
            "median": _number(median.get_ydata()[0]),
            "third_quartile": _number(high.get_ydata()[0]),
            "max": _number(high.get_ydata()[1]),
            "outliers": outliers,
        }

    def _scale(self, name: str, axis: Any) -> Data:
        ticks = [_place(axis, one) for one in _ticks(axis)]
        self._count(len(ticks))
        kind = _kind_of(axis)
        scale = axis.get_scale() if kind == "plain" else kind
        labels = _labels(axis)
        return {f"{name}_ticks": ticks, f"{name}_tick_labels": labels, f"{name}_scale": scale}

    def _count(self, more: int) -> None:
        self._values += more
        if self._values > VALUES_CAP:
            raise TooMuch


def _boxes(axes: Any) -> list[Sequence[Any]]:
    """The lines of each box of a box plot; nothing if the axes are none."""
    lines = list(axes.lines)
    filled = [one for one in axes.patches if _is(one, "PathPatch")]
    if filled:
        size, rest = divmod(len(lines), len(filled))
        if rest or size not in (LINES_OF_A_BOX, LINES_OF_A_BOX + 1):
            return []
        found: list[Sequence[Any]] = [
            lines[place : place + size] for place in range(0, len(lines), size)
        ]
    else:
        # A box that is not filled is a line of its own, before those of its whiskers.
        starts = [place for place, one in enumerate(lines) if len(one.get_xdata()) == 5]
        if not starts or starts[0] != 0:
            return []
        ends = [*starts[1:], len(lines)]
        found = [lines[a + 1 : b] for a, b in zip(starts, ends, strict=True)]
    is_box = all(
        len(one) in (LINES_OF_A_BOX, LINES_OF_A_BOX + 1)
        and all(len(line.get_ydata()) == 2 for line in one[:LINES_OF_A_BOX])
        for one in found
    )
    return found if is_box else []


def _slice(wedge: Any) -> Data:
    angle = _number(round(float(wedge.theta2) - float(wedge.theta1), DIGITS))
    return {"label": _label(wedge), "angle": angle, "radius": _number(wedge.r)}


def _names(axes: Any) -> Data:
    """Labels of both axes, and the unit that stands in brackets at their end."""
    found: Data = {}
    for name, label in (("x", axes.get_xlabel()), ("y", axes.get_ylabel())):
        unit = UNIT.search(str(label))
        found[f"{name}_label"] = _text(label)
        found[f"{name}_unit"] = _text(unit[1]) if unit else None
    return found


def _kind_of(axis: Any) -> str:
    """What the values of an axis are, by what made numbers of them."""
    ask = getattr(axis, "get_converter", None)
    converter = ask() if callable(ask) else getattr(axis, "converter", None)
    name = type(converter).__name__
    if "Category" in name:
        return "categorical"
    return "datetime" if "Date" in name else "plain"


def _place(axis: Any, value: float) -> Value:
    """A value on an axis as it was given: a number, a name, or a time in ISO's form."""
    kind = _kind_of(axis)
    if kind == "datetime":
        return str(sys.modules["matplotlib.dates"].num2date(value).isoformat())
    if kind == "categorical":
        units = getattr(axis.units, "_mapping", {})
        return next((_text(name) or "" for name, number in units.items() if number == value), "")
    return _number(value)


def _ticks(axis: Any) -> list[float]:
    return [round(float(one), 12) for one in axis.get_majorticklocs()]


def _labels(axis: Any) -> list[str]:
    return [_text(one.get_text()) or "" for one in axis.get_majorticklabels()]


def _label(drawn: Any) -> str:
    """What a legend calls it; matplotlib's own names, with an underscore, are none."""
    found = _text(drawn.get_label()) or ""
    return "" if found.startswith("_") else found


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _text(value: object) -> str | None:
    return str(value)[:TEXT_CAP] or None


def _is(value: object, name: str) -> bool:
    """Whether a class of `value` has that name, in matplotlib."""
    return any(
        one.__name__ == name and one.__module__.startswith("matplotlib.")
        for one in type(value).__mro__
    )
