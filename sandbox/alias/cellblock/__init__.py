"""Names the engine `cellblock`: the same objects as `sandbox`, whatever else has that name.

    from cellblock import Limits, Policy, Sandbox

A file `sandbox.py` beside a user's script comes before the engine on `sys.path`. So the engine is
loaded from the folder where this package was installed, not by a search.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox import *  # noqa: F403  # its `__all__` is the one list


def _engine() -> ModuleType:
    """Load the engine as `sandbox`. Raises ImportError if another module has that name already."""
    here = Path(__file__).resolve().parent
    # Beside this package where a wheel was installed, two folders up in a checkout.
    roots = (here.parent, here.parent.parent.parent)
    places = [root / "sandbox" / "__init__.py" for root in roots]
    place = next((one for one in places if one.is_file()), None)
    if place is None:
        raise ImportError(
            f"cellblock's engine is missing: there is no {places[0]}. Install cellblock again.",
            name="sandbox",
        )
    loaded = sys.modules.get("sandbox")
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve() == place:
            return loaded
        seen = loaded.__file__ or repr(loaded)
        raise ImportError(
            f"cellblock's engine is a package named `sandbox`, and {seen}"
            " was imported under that name. Import cellblock first, or rename that file.",
            name="sandbox",
        )
    spec = importlib.util.spec_from_file_location(
        "sandbox", place, submodule_search_locations=[str(place.parent)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cellblock's engine cannot be loaded from {place}", name="sandbox")
    engine = importlib.util.module_from_spec(spec)
    sys.modules["sandbox"] = engine
    try:
        spec.loader.exec_module(engine)
    except BaseException:
        del sys.modules["sandbox"]
        raise
    return engine


_ENGINE = _engine()
__all__ = list(_ENGINE.__all__)


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(_ENGINE, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
