"""Whose code a frame runs: the guest's, or what was installed. The place of the source decides."""

import functools
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType

from sandbox.protocol.plan import SHARED_MEMORY, TEMPORARY, WORKSPACE, WORKSPACE_ALIAS

SNIPPET_FILE = "<snippet "
"""How the file name of a snippet's code begins."""
GUEST_ROOTS = (WORKSPACE, WORKSPACE_ALIAS, "/tmp", TEMPORARY, SHARED_MEMORY)
"""Directories whose modules are guest code, but for what was installed below them."""
KEPT = 4096
_ENGINE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


class Origins:
    """Tells guest code from installed code by where its source lies; the longest root decides."""

    def __init__(self, guest_roots: Sequence[str]) -> None:
        guest = set(guest_roots) - {"/"}
        installed = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__)}
        installed |= {_ENGINE}
        installed |= {
            entry
            for entry in sys.path
            if os.path.isabs(entry) and not entry.startswith(WORKSPACE + "/")
        }
        roots = {root: False for root in installed - guest - {"/"}} | {root: True for root in guest}
        self._roots = sorted(
            ((root.rstrip("/") + "/", is_guest) for root, is_guest in roots.items()),
            key=lambda row: -len(row[0]),
        )
        self.is_guest_file = functools.lru_cache(maxsize=KEPT)(self._is_guest_file)

    def is_guest_frame(self, frame: FrameType | None) -> bool:
        """Whether guest code runs in `frame`."""
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(SNIPPET_FILE):
                return True
            if not file.startswith("<"):
                return self.is_guest_file(file)
            if file.startswith("<frozen "):
                return False
            # Code made by exec is its module's; if it has no module, that of the code that ran it.
            if frame.f_globals.get("__name__") == "__main__":
                return True
            module_file = frame.f_globals.get("__file__")
            if isinstance(module_file, str):
                return self.is_guest_file(module_file)
            frame = frame.f_back
        return True

    def is_guest_module(self, name: str) -> bool:
        """Whether the top-level module `name` is `__main__` or found where the guest writes."""
        if name in sys.builtin_module_names:
            return False
        if name == "__main__":
            return True
        loaded = sys.modules.get(name)
        spec = PathFinder.find_spec(name) if loaded is None else getattr(loaded, "__spec__", None)
        if not isinstance(spec, ModuleSpec):
            return False
        if spec.has_location and spec.origin:
            return self.is_guest_file(spec.origin)
        places = list(spec.submodule_search_locations or ())
        return bool(places) and all(self.is_guest_file(f"{place}/") for place in places)

    def is_own_file(self, path: str) -> bool:
        """Whether the guest may write `path` as a matter of course."""
        path = os.path.abspath(path)
        return path.startswith(("/dev/", "/proc/self/")) or self.is_guest_file(path)

    def _is_guest_file(self, path: str) -> bool:
        if not os.path.isabs(path):
            return True  # Installed modules are loaded by absolute paths.
        return next((is_guest for root, is_guest in self._roots if path.startswith(root)), False)
