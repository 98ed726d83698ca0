"""What a snippet shows: `display()`, the echo of its last expression, its figures; within caps."""

import builtins
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from sandbox.guest.display import figures
from sandbox.guest.display.bundles import (
    PLAIN_TYPES,
    Bundle,
    MiB,
    Scalar,
    bundle_from,
    bundle_of,
    reason,
    text_of,
)
from sandbox.guest.language.hooks import ImportHooks

Emit = Callable[[dict[str, str], dict[str, Scalar]], None]

BUNDLES_CAP = 100
TOTAL_CAP = 20 * MiB
"""Bundles of one snippet, and characters in all of them."""
SHORT_TEXT = 10_000
"""Characters of plain text that are shown also when the total is spent."""
IPYTHON_MODULES = ("IPython.core.display_functions", "IPython.core.display", "IPython.display")


class Displays:
    """Sends bundles of the snippet that runs now; between snippets there is none to send for."""

    def __init__(self, emit: Emit, hooks: ImportHooks) -> None:
        self._emit = emit
        self._is_open = False
        self._pid = 0
        self._count = 0
        self._total = 0
        self._shown: set[int] = set()
        builtins.display = self.display  # type: ignore[attr-defined]
        figures.preset_backend()
        figures.when_shown(hooks, self._show_figure)
        hooks.when_imported("plotly.basedatatypes", self._teach_plotly)
        for name in IPYTHON_MODULES:
            hooks.when_imported(name, self._teach_ipython)

    def begin(self) -> None:
        """A snippet starts: its caps are whole."""
        self._pid = os.getpid()
        self._count = self._total = 0
        self._is_open = True

    def end(self) -> None:
        """The snippet is over: what its threads display from now on is dropped."""
        self._is_open = False
        self._shown.clear()

    def display(
        self,
        *objects: Any,
        include: Any = None,
        exclude: Any = None,
        metadata: Any = None,
        display_id: Any = None,
        raw: bool = False,
        **_others: Any,
    ) -> "Handle | None":
        """Show each object in the forms that it offers; with `raw`, objects are bundles."""
        for value in objects:
            if raw:
                bundle = bundle_from(value, metadata)
            else:
                bundle = bundle_of(value, text_of(value))
                if not bundle.is_rich and self._displays_itself(value):
                    continue
                if figures.is_figure(value):
                    self._shown.add(id(value))
            self._send(_chosen(bundle, include, exclude))
        return Handle(self) if display_id else None

    def echo(self, value: Any) -> str | None:
        """The plain text of a last expression's value; its other forms, if any, are shown."""
        if value is None:
            return None
        text = text_of(value)
        if type(value) not in PLAIN_TYPES:
            is_open_figure = figures.is_figure(value) and any(
                value is figure for figure in figures.open_figures()
            )
            if not is_open_figure:
                bundle = bundle_of(value, text)
                if bundle.is_rich:
                    self._send(bundle)
                else:
                    self._displays_itself(value)
        return text

    def show_figures(self) -> None:
        """Show and close the figures that pyplot holds."""
        for figure in figures.open_figures():
            if id(figure) not in self._shown and not figures.is_empty(figure):
                self._show_figure(figure)
            figures.close(figure)

    def publish(self, data: Any, metadata: Any = None, **_others: Any) -> None:
        """Show a bundle, as IPython's `publish_display_data`."""
        self.display(data, raw=True, metadata=metadata)

    def _show_figure(self, figure: Any) -> None:
        bundle = bundle_of(figure, text_of(figure))
        self._send(bundle)

    def _displays_itself(self, value: Any) -> bool:
        method = getattr(type(value), "_ipython_display_", None)
        if not callable(method):
            return False
        try:
            method(value)
        except Exception as error:  # noqa: BLE001
            self._send(Bundle({"text/plain": f"<display failed: {reason(error)}>"}, {}, False))
        return True

    def _send(self, bundle: Bundle) -> None:
        if not self._is_open or not bundle.data:
            return
        if os.getpid() != self._pid:
            # A child of the snippet's process: the channel is not its own.
            print(bundle.data.get("text/plain", ""))
            return
        if self._count > BUNDLES_CAP:
            return
        size = bundle.cost
        self._count += 1
        if self._count > BUNDLES_CAP:
            text = f"[this and all further displays left out: {BUNDLES_CAP} are allowed]"
            bundle = Bundle({"text/plain": text}, {}, False)
        elif self._total + size > TOTAL_CAP:
            text = bundle.data.pop("text/plain", "")
            note = (
                f"[{', '.join(bundle.data) or 'display'} left out: {size} characters;"
                f" {TOTAL_CAP - self._total} of {TOTAL_CAP} are left]"
            )
            text = f"{text}\n{note}" if 0 < len(text) <= SHORT_TEXT else note
            bundle = Bundle({"text/plain": text}, {}, False)
        else:
            self._total += size
        # What was printed before must not arrive after it. The stream may be the snippet's own.
        with suppress(Exception):
            sys.stdout.flush()
        self._emit(bundle.data, bundle.metadata)

    def _teach_ipython(self, module: ModuleType) -> None:
        """Let IPython's functions show here; without its kernel they would print."""
        for name, function in (
            ("display", self.display),
            ("update_display", self.display),
            ("publish_display_data", self.publish),
            ("clear_output", _keep_output),
        ):
            if hasattr(module, name):
                setattr(module, name, function)

    def _teach_plotly(self, module: ModuleType) -> None:
        """Let `figure.show()` show here; it would look for a browser."""

        def show(figure: object, *_others: object, **_options: object) -> None:
            self.display(figure)

        if hasattr(module, "BaseFigure"):
            module.BaseFigure.show = show


class Handle:
    """What `display(..., display_id=...)` returns: shows again, it cannot replace."""

    def __init__(self, displays: Displays) -> None:
        self._displays = displays

    def display(self, value: object, **options: Any) -> None:
        self._displays.display(value, **options)

    update = display


def _keep_output(wait: bool = False) -> None:
    """In place of IPython's `clear_output`: what was shown stays."""


def _chosen(bundle: Bundle, include: Any, exclude: Any) -> Bundle:
    """`bundle` with the forms that the caller of `display` asked for; its text in any case."""
    if include is None and exclude is None:
        return bundle
    data = {
        mime: text
        for mime, text in bundle.data.items()
        if mime == "text/plain"
        or ((include is None or mime in include) and (exclude is None or mime not in exclude))
    }
    return bundle._replace(data=data)
