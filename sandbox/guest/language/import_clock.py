"""Times the first import of packages that are known to take long, so that it can be told.

Each fresh session pays for it, unless the policy has the package imported ahead (`preload`).
"""

import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

HEAVY = frozenset(
    (
        *("altair", "bokeh", "cv2", "dask", "duckdb", "geopandas", "gensim", "keras", "lightgbm"),
        *("matplotlib", "networkx", "nltk", "numba", "numpy", "pandas", "plotly", "polars"),
        *("pyarrow", "scipy", "seaborn", "skimage", "sklearn", "spacy", "statsmodels", "sympy"),
        *("tensorflow", "torch", "torchvision", "transformers", "xgboost"),
    )
)
TOLD_FROM_MS = 500


class ImportClock(MetaPathFinder):
    """A finder that finds nothing itself: it times what others find."""

    def __init__(self) -> None:
        self._is_timing = False
        self._slowest = ("", 0)

    def install(self) -> None:
        """Be asked before the finders that are in force now."""
        sys.meta_path.insert(0, self)

    def take(self) -> tuple[str, int]:
        """The slowest package since the last call, and its milliseconds; ("", 0) for none."""
        slowest, self._slowest = self._slowest, ("", 0)
        return slowest

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # What a package imports counts as its own.
        if name.partition(".")[0] not in HEAVY or self._is_timing:
            return None
        place = sys.meta_path.index(self)
        for finder in sys.meta_path[place + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _TimedLoader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def run(self, loader: Any, module: ModuleType) -> None:
        """Have `loader` run `module`, and note what it took."""
        started = time.monotonic()
        self._is_timing = True
        try:
            loader.exec_module(module)
        finally:
            self._is_timing = False
            took = int((time.monotonic() - started) * 1000)
            if took >= TOLD_FROM_MS and took > self._slowest[1]:
                self._slowest = module.__name__, took


class _TimedLoader:
    """Loads as `loader` does. The module never sees this loader."""

    def __init__(self, loader: Any, clock: ImportClock) -> None:
        self._loader = loader
        self._clock = clock

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._clock.run(self._loader, module)

    def __getattr__(self, name: str) -> Any:
        # Code that only looks for a package asks its loader for more.
        return getattr(self._loader, name)
