"""A session in the process of the test: snippets run here, and the process is put back after."""

import builtins
import inspect
import linecache
import signal
import sys
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
        self.runner = SnippetRunner(language=language, emit=self._keep)
        self.number = 0

    def run(self, code: str) -> Ending:
        self.bundles.clear()
        self.metadata.clear()
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

    def _keep(self, bundle: dict[str, str], metadata: dict[str, Scalar]) -> None:
        self.bundles.append(bundle)
        self.metadata.append(metadata)


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
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        bases = sys.modules.get("matplotlib.backend_bases")
        if bases is not None:
            patch.setattr(bases.FigureManagerBase, "show", bases.FigureManagerBase.show)
        try:
            yield Snippets(language)
        finally:
            signal.signal(signal.SIGINT, handler)
            for file in [file for file in linecache.cache if file.startswith(SNIPPET_FILE)]:
                del linecache.cache[file]
