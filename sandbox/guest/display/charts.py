"""Interactive charts of plotly, altair and bokeh: a page that draws them, and their own JSON.

None of the libraries is ever imported here; a chart can only come from a snippet that did. Pages
load the library's script from its public address, so that a chart has the size of its data.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

Form = tuple[str, Callable[[], object]]
"""A type, and what makes a chart's form of it."""

PLOTLY_JSON = "application/vnd.plotly.v1+json"


def is_chart(value: object) -> bool:
    """Whether `value` is a chart of one of the libraries."""
    return isinstance(value, _kinds())


def forms_of(chart: Any) -> Iterator[Form]:
    """The forms of `chart`, each to be made when it is wanted."""
    if isinstance(chart, _class("plotly.basedatatypes", "BaseFigure")):
        yield "text/html", lambda: chart.to_html(full_html=False, include_plotlyjs="cdn")
        yield PLOTLY_JSON, chart.to_json
    elif isinstance(chart, _class("altair", "TopLevelMixin")):
        yield "text/html", chart.to_html
        version = sys.modules["altair"].SCHEMA_VERSION.split(".")[0]
        yield f"application/vnd.vegalite.{version}+json", chart.to_dict
    else:
        yield "text/html", lambda: bokeh_page(chart)


def bokeh_page(chart: Any) -> str:
    """A page that shows a bokeh plot or layout, or a list of them."""
    # They are there: what makes a chart imports them.
    embed: Any = sys.modules["bokeh.embed"]
    resources: Any = sys.modules["bokeh.resources"]
    page: str = embed.file_html(chart, resources.CDN, "bokeh")
    return page


def _kinds() -> tuple[type, ...]:
    return (
        _class("plotly.basedatatypes", "BaseFigure"),
        _class("altair", "TopLevelMixin"),
        _class("bokeh.models.layouts", "LayoutDOM"),
    )


class _Nothing:
    """The class of no object."""


def _class(module: str, name: str) -> Any:
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else _Nothing
