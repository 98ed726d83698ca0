"""Runs a function as soon as a module has been imported, by any code and at any time.

The engine changes a few functions of libraries so that what they show reaches the caller. It
must not import those libraries itself: most snippets never use them.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Hook = Callable[[ModuleType], None]


class ImportHooks(MetaPathFinder):
    """A finder that finds nothing itself: it lets a hook follow the import that others do."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}

    def install(self) -> None:
        """Be asked before the finders that are in force now."""
        sys.meta_path.insert(0, self)

    def when_imported(self, name: str, hook: Hook) -> None:
        """Call `hook` with the module `name`: now if it is loaded, else when it gets imported."""
        module = sys.modules.get(name)
        if module is None:
            self._hooks[name] = hook
        else:
            hook(module)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        hook = self._hooks.get(name)
        if hook is None:
            return None
        # Finders in front of this one have been asked already: an import policy must not see,
        # and report, the same import twice.
        place = sys.meta_path.index(self)
        for finder in sys.meta_path[place + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _HookedLoader(spec.loader, hook)
                return spec
        return None


class _HookedLoader(Loader):
    """Loads as `loader` does, then calls the hook. The module never sees this loader."""

    def __init__(self, loader: Loader, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._hook(module)
