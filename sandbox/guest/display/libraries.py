"""What libraries call to show something, changed so that it is shown here.

Outside of a notebook they would look for a browser or a window, of which a jail has none.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from sandbox.guest.language.hooks import ImportHooks

Show = Callable[[Any], object]


def teach(hooks: ImportHooks, show: Show) -> None:
    """Let the libraries call `show` with what a snippet asks them to show."""
    for name, change in (
        ("plotly.basedatatypes", _teach_plotly_figure),
        ("plotly.io._renderers", _teach_plotly_io),
        ("plotly.offline.offline", _teach_plotly_offline),
        ("PIL.ImageShow", _teach_pillow),
        ("bokeh.io.showing", _teach_bokeh_show),
        ("bokeh.io.output", _teach_bokeh_output),
        ("tqdm.notebook", _teach_tqdm_notebook),
    ):
        hooks.when_imported(name, lambda module, change=change: change(module, show))  # type: ignore[misc]


def _loaded(name: str) -> Any:
    """The module `name`, which asks for this and so is there."""
    return sys.modules[name]


def _replace(module: Any, name: str, function: Callable[..., object]) -> None:
    """Put `function` in place of what `module` has, if it has that."""
    if hasattr(module, name):
        setattr(module, name, function)


def _teach_plotly_figure(module: ModuleType, show: Show) -> None:
    def show_figure(figure: object, *_others: object, **_options: object) -> None:
        show(figure)

    _replace(getattr(module, "BaseFigure", None), "show", show_figure)


def _teach_plotly_io(module: ModuleType, show: Show) -> None:
    def show_any(fig: Any, *_others: object, **_options: object) -> None:
        show(_plotly_figure(fig))

    _replace(module, "show", show_any)


def _teach_plotly_offline(module: ModuleType, show: Show) -> None:
    def iplot(figure_or_data: Any, *_others: object, **_options: object) -> None:
        show(_plotly_figure(figure_or_data))

    def init_notebook_mode(connected: bool = False) -> None:
        """Prepare nothing: each chart brings what it needs."""

    _replace(module, "iplot", iplot)
    _replace(module, "init_notebook_mode", init_notebook_mode)


def _plotly_figure(value: Any) -> Any:
    """`value` as a figure; it may be a dict that describes one, or the data of one."""
    if hasattr(value, "to_html"):
        return value
    return _loaded("plotly").graph_objects.Figure(value)


def _teach_pillow(module: ModuleType, show: Show) -> None:
    def show_image(image: object, title: str | None = None, **_options: object) -> bool:
        show(image)
        return True

    _replace(module, "show", show_image)


def _teach_bokeh_show(module: ModuleType, show: Show) -> None:
    def show_chart(obj: Any, *_others: object, **_options: object) -> None:
        if _loaded("bokeh.io.state").curstate().file:
            _loaded("bokeh.io").save(obj)
        for chart in obj if isinstance(obj, list | tuple) else [obj]:
            show(chart)

    _replace(module, "show", show_chart)


def _teach_bokeh_output(module: ModuleType, _show: Show) -> None:
    def output_notebook(*_others: object, **_options: object) -> None:
        """Prepare nothing: each chart brings what it needs."""

    _replace(module, "output_notebook", output_notebook)


def _teach_tqdm_notebook(module: ModuleType, _show: Show) -> None:
    """Give bars of text where there are no widgets: it would raise ImportError."""
    if getattr(module, "IProgress", None) is None:
        plain = _loaded("tqdm.std")
        for name in ("tqdm", "tqdm_notebook"):
            _replace(module, name, plain.tqdm)
        for name in ("trange", "tnrange"):
            _replace(module, name, plain.trange)
