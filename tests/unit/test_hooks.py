"""Hooks that follow an import, and the functions of libraries that they put in place."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sandbox.guest.display import figures
from sandbox.guest.language.hooks import ImportHooks
from tests.unit.snippets import Snippets, snippets


@pytest.fixture
def session() -> Iterator[Snippets]:
    with snippets() as made:
        yield made


def package(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to import from; what was imported is forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_display_of_ipython_is_ours_from_the_first_import_on(
    session: Snippets, library: Path
) -> None:
    functions = "def display(*a): print('theirs')\ndef clear_output(wait=False): print('theirs')\n"
    package(
        library,
        {
            "IPython/__init__.py": "",
            "IPython/core/__init__.py": "",
            "IPython/core/display_functions.py": functions,
            "IPython/display.py": "from IPython.core.display_functions import *\n",
        },
    )
    session.run(
        "from IPython.display import display, clear_output\n"
        "clear_output(wait=True)\nhandle = display(1, display_id=True)\nhandle.update(2)"
    )
    # An updated display is kept in its last state.
    assert session.bundles == [{"text/plain": "2"}]


def test_show_of_a_plotly_figure_displays_it(session: Snippets, library: Path) -> None:
    figure = (
        "class BaseFigure:\n    def to_html(self, **_options): return '<div>'\n"
        "    def to_json(self): return '{}'\n"
        "    def show(self, renderer): raise AssertionError\n"
    )
    package(library, {"plotly/__init__.py": "", "plotly/basedatatypes.py": figure})
    session.run("import plotly.basedatatypes as p\np.BaseFigure().show(renderer='browser')")
    assert [bundle["text/html"] for bundle in session.bundles] == ["<div>"]


def test_show_works_in_the_snippet_that_imports_matplotlib_first(
    session: Snippets, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    base = "class FigureManagerBase:\n    def show(self): raise AssertionError\n"
    package(library, {"matplotlib/__init__.py": "", "matplotlib/backend_bases.py": base})
    seen: list[Any] = []
    hooks = ImportHooks()
    hooks.install()
    monkeypatch.setattr(figures, "close", lambda figure: seen.append("closed"))
    figures.when_shown(hooks, seen.append)
    session.runner.namespace["note"] = seen.append
    session.run(
        "from matplotlib.backend_bases import FigureManagerBase\n"
        "from types import SimpleNamespace\n"
        "manager = FigureManagerBase()\n"
        "manager.canvas = SimpleNamespace(figure='figure')\n"
        "manager.show()\nnote('after')"
    )
    assert seen == ["figure", "closed", "after"]


def test_a_hook_runs_after_the_import_and_leaves_no_trace(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    package(library, {"hooked.py": "import sys\nloader = __loader__\nvalue = 1\n"})
    asked: list[str] = []

    class Policy:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            asked.append(name)

    hooks = ImportHooks()
    hooks.install()
    sys.meta_path.insert(0, Policy())
    seen: list[ModuleType] = []
    hooks.when_imported("hooked", seen.append)
    import hooked  # type: ignore[import-not-found]

    assert seen == [hooked]
    assert type(hooked.loader).__name__ == "SourceFileLoader"
    assert hooked.__loader__ is hooked.__spec__.loader is hooked.loader
    assert asked == ["hooked"]


def test_a_hook_of_a_loaded_module_runs_at_once() -> None:
    seen: list[ModuleType] = []
    ImportHooks().when_imported("json", seen.append)
    assert seen == [json]


def test_a_module_that_is_not_found_is_not_found(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    hooks = ImportHooks()
    hooks.install()
    hooks.when_imported("no_such_module", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
