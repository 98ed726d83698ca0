"""A session in the process of the test: snippets run here, and the process is put back after."""

import asyncio
import builtins
import inspect
import linecache
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.guest.display.bundles import Scalar
from sandbox.guest.language.code_origin import SNIPPET_FILE
from sandbox.guest.session.snippet import Ending, SnippetRunner
from sandbox.protocol.plan import Language


class Snippets:
    """Runs snippets as a worker does, and keeps what they showed."""

    def __init__(self, language: Language) -> None:
        self.bundles: list[dict[str, str]] = []
        self.metadata: list[dict[str, Scalar]] = []
        self._places: dict[int, int] = {}
        self.runner = SnippetRunner(language=language, screen=self)
        self.number = 0

    def run(self, code: str) -> Ending:
        self.clear()
        self.number += 1
        return self.runner.run(code, self.number)

    def text(self, code: str) -> str | None:
        """The echo of `code`, which must complete."""
        ending = self.run(code)
        assert ending.ended == "completed", ending.error_traceback
        return ending.text

    def traceback(self, code: str) -> str:
        """The traceback of `code`, which must raise."""
        ending = self.run(code)
        assert ending.ended == "raised"
        return ending.error_traceback

    def show(self, bundle: dict[str, str], metadata: dict[str, Scalar], number: int) -> None:
        """Keep a bundle as the host does."""
        if number in self._places:
            self.bundles[self._places[number]] = bundle
            return
        self._places[number] = len(self.bundles)
        self.bundles.append(bundle)
        self.metadata.append(metadata)

    def clear(self) -> None:
        """Forget what was kept."""
        self.bundles.clear()
        self.metadata.clear()
        self._places.clear()


@contextmanager
def snippets(language: Language = "full") -> Iterator[Snippets]:
    """A session; all that it changes in this process is undone at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        patch.setattr(sys, "meta_path", list(sys.meta_path))
        patch.setattr(inspect, "getfile", inspect.getfile)
        patch.setenv("MPLBACKEND", "Agg")
        for name in ("_", "display", "exit", "quit", "help"):
            patch.setattr(builtins, name, None, raising=False)
        patch.setattr(sys, "argv", list(sys.argv))
        patch.setattr(sys, "breakpointhook", sys.breakpointhook)
        patch.setattr(warnings, "_showwarnmsg", warnings._showwarnmsg)  # type: ignore[attr-defined]
        for module in (asyncio, asyncio.tasks):
            patch.setattr(module, "create_task", module.create_task)
        patch.setattr(traceback, "walk_stack", traceback.walk_stack)
        policy = asyncio.get_event_loop_policy()
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        bases = sys.modules.get("matplotlib.backend_bases")
        if bases is not None:
            patch.setattr(bases.FigureManagerBase, "show", bases.FigureManagerBase.show)
        try:
            yield Snippets(language)
        finally:
            signal.signal(signal.SIGINT, handler)
            asyncio.set_event_loop_policy(policy)
            for name in [name for name in sys.modules if name.split(".")[0] == "IPython"]:
                del sys.modules[name]
            for file in [file for file in linecache.cache if file.startswith(SNIPPET_FILE)]:
                del linecache.cache[file]
