"""What a snippet shows: `display()`, the echo of its last expression, its figures; within caps."""

import builtins
import logging
import mimetypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from sandbox.guest.display import figures, ipython, libraries
from sandbox.guest.display.board import Board, Screen
from sandbox.guest.display.bundles import (
    PLAIN_TYPES,
    Bundle,
    bundle_from,
    bundle_of,
    reason,
    text_of,
)
from sandbox.guest.display.warned import Warned
from sandbox.guest.language.hooks import ImportHooks

IPYTHON_MODULES = ("IPython.core.display_functions", "IPython.core.display", "IPython.display")
FILES_CAP = 100
"""Displays of one session that are kept as files of the workspace."""
SUFFIXES = {"application/javascript": ".js", "text/latex": ".tex", "text/markdown": ".md"}


class Displays:
    """Sends bundles of the snippet that runs now; between snippets there is none to send for."""

    def __init__(self, screen: Screen, hooks: ImportHooks, warned: Warned) -> None:
        self._outputs: list[dict[str, str]] | None = None
        """Where displays go that are not to be shown."""
        self._board = Board(screen, _flush_stdout)
        self._warned = warned
        self._is_open = False
        self._pid = 0
        self._files = 0
        self._shown: set[int] = set()
        self.directory = ""
        """Where a form goes that is too long to be sent."""
        builtins.display = self.display  # type: ignore[attr-defined]
        figures.preset_backend()
        figures.keep_backend(hooks)
        figures.when_shown(hooks, self._show_figure)
        libraries.teach(hooks, self.display)
        # For each text that it draws it says again which font is missing.
        hooks.when_imported(
            "matplotlib.font_manager",
            lambda module: logging.getLogger(module.__name__).addFilter(warned.is_news),
        )
        for name in IPYTHON_MODULES:
            hooks.when_imported(name, self._teach_ipython)
        ipython.offer(self._functions())

    def begin(self) -> None:
        """Begin with a snippet whose caps are whole."""
        self._pid = os.getpid()
        self._board.reset()
        self._is_open = True

    def finish(self) -> None:
        """Send what has waited: the snippet has nothing more to do."""
        if self._is_open and os.getpid() == self._pid:
            self._board.finish()

    def end(self) -> None:
        """Drop what threads display from now on: the snippet is over."""
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
        update: bool = False,
        **_others: Any,
    ) -> "Handle | None":
        """Show each object in the forms that it offers; with `raw`, objects are bundles.

        With `update`, in place of what was shown with that `display_id`.
        """
        name = ""
        if display_id is not None and display_id is not False:
            name = os.urandom(16).hex() if display_id is True else str(display_id)
        for value in objects:
            if raw:
                bundle = bundle_from(value, metadata, self._keep)
            else:
                bundle = self._bundle_of(value, text_of(value))
                if not bundle.is_rich and self._displays_itself(value):
                    continue
                if figures.is_figure(value):
                    self._shown.add(id(value))
            self._send(_chosen(bundle, include, exclude), name, update)
        return Handle(self, name) if name else None

    def update_display(self, obj: Any, *, display_id: Any, **options: Any) -> None:
        """Show `obj` in place of what was shown with that `display_id`."""
        self.display(obj, display_id=display_id, **{**options, "update": True})

    def clear_output(self, wait: bool = False) -> None:
        """Forget what the snippet has shown; with `wait`, when it shows the next thing."""
        if self._is_open and os.getpid() == self._pid:
            self._shown.clear()
            self._board.clear(wait=bool(wait))

    def echo(self, value: Any) -> str | None:
        """The plain text of a last expression's value; its other forms, if any, are shown."""
        if value is None:
            return None
        text = text_of(value)
        if self._outputs is not None:
            self._outputs.append({"text/plain": text, **self._bundle_of(value, text).data})
            return None
        if type(value) not in PLAIN_TYPES:
            is_open_figure = figures.is_figure(value) and any(
                value is figure for figure in figures.open_figures()
            )
            if not is_open_figure:
                bundle = self._bundle_of(value, text)
                if bundle.is_rich:
                    self._send(bundle)
                else:
                    self._displays_itself(value)
        return text

    @contextmanager
    def kept_in(self, outputs: list[dict[str, str]]) -> Iterator[None]:
        """Put what is shown inside into `outputs`, in place of showing it."""
        self._outputs = outputs
        try:
            yield
        finally:
            self._outputs = None

    def show_figures(self) -> None:
        """Show and close the figures that pyplot holds."""
        for figure in figures.open_figures():
            if id(figure) not in self._shown and not figures.is_empty(figure):
                self._show_figure(figure)
            figures.close(figure)

    def publish(self, data: Any, metadata: Any = None, **options: Any) -> None:
        """Show a bundle, as IPython's `publish_display_data`."""
        transient = options.get("transient") or {}
        self.display(
            data,
            raw=True,
            metadata=metadata,
            display_id=transient.get("display_id"),
            update=bool(options.get("update")),
        )

    def _show_figure(self, figure: Any) -> None:
        self._send(self._bundle_of(figure, text_of(figure)))

    def _bundle_of(self, value: Any, text: str) -> Bundle:
        if not figures.is_figure(value):
            return bundle_of(value, text, self._keep)
        with self._warned.drawing() as drawing:
            bundle = bundle_of(value, text, self._keep)
            if drawing.lacks_glyphs() and figures.fall_back(value):
                drawing.forget()
                bundle = bundle_of(value, text, self._keep)
            return bundle

    def _displays_itself(self, value: Any) -> bool:
        method = getattr(type(value), "_ipython_display_", None)
        if not callable(method):
            return False
        try:
            method(value)
        except Exception as error:  # noqa: BLE001
            self._send(Bundle({"text/plain": f"<display failed: {reason(error)}>"}, {}, False))
        return True

    def _send(self, bundle: Bundle, display_id: str = "", update: bool = False) -> None:
        if not self._is_open or not bundle.data:
            return
        if self._outputs is not None:
            self._outputs.append(dict(bundle.data))
        elif os.getpid() != self._pid:
            # A child of the snippet's process: the channel is not its own.
            print(bundle.data.get("text/plain", ""))
        # What an earlier snippet has shown is that snippet's; it is shown anew.
        elif not (update and display_id and self._board.update(bundle, display_id)):
            self._board.add(bundle, display_id)

    def _keep(self, mime: str, data: bytes) -> str:
        """Write a form that is too long to be sent to a file of the workspace; its name."""
        suffix = SUFFIXES.get(mime) or mimetypes.guess_extension(mime)
        if suffix is None:
            suffix = ".json" if mime.endswith("json") else ".txt"
        while self._files < FILES_CAP and self.directory:
            self._files += 1
            name = f"display-{self._files}{suffix}"
            with suppress(FileExistsError), open(os.path.join(self.directory, name), "xb") as file:
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    os.unlink(file.name)
                    raise
                return name
        raise OSError("no more files for displays")

    def _functions(self) -> dict[str, Any]:
        """IPython's functions by their names."""
        return {
            "display": self.display,
            "update_display": self.update_display,
            "publish_display_data": self.publish,
            "clear_output": self.clear_output,
        }

    def _teach_ipython(self, module: ModuleType) -> None:
        """Let IPython's functions show here; without its kernel they would print."""
        for name, function in self._functions().items():
            if hasattr(module, name):
                setattr(module, name, function)


class Handle:
    """What `display(..., display_id=...)` returns: shows again, or in place of what is there."""

    def __init__(self, displays: Displays, display_id: str) -> None:
        self._displays = displays
        self.display_id = display_id

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"

    def display(self, obj: object, **options: Any) -> None:
        """Show `obj` once more, to be updated with the others."""
        self._displays.display(obj, **{**options, "display_id": self.display_id})

    def update(self, obj: object, **options: Any) -> None:
        """Show `obj` in place of what was shown with this handle."""
        self._displays.update_display(obj, **{**options, "display_id": self.display_id})


def _flush_stdout() -> None:
    """Write out what was printed before: it must not arrive after what is shown then."""
    # The stream may be the snippet's own.
    with suppress(Exception):
        sys.stdout.flush()


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
