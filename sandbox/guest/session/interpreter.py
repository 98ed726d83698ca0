"""The interpreter of a session as a snippet expects one, whatever its zygote was started with.

The zygote is started without `site` and with other flags, so that no code of the environment runs
before the jail stands. By the time of a snippet that is made up for, and programs that pass their
interpreter's flags on (multiprocessing, loky) must not pass those on.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from sandbox.protocol.plan import HOME_ALIAS, OWN_PACKAGES, TEMPORARY, WORKSPACE, JailPlan

HOME = f"{TEMPORARY}/home"
USUAL_HOME = "/tmp/home"
_OWN_PACKAGES = f"{USUAL_HOME}/{OWN_PACKAGES}"

RESET = {  # name in sys.flags: what a plainly started interpreter has
    "no_site": 0,
    "no_user_site": 0,
    "safe_path": False,
    "dont_write_bytecode": 0,
    "isolated": 0,
    "ignore_environment": 0,
    "utf8_mode": 0,
}


def look_plainly_started() -> None:
    """Let `sys.flags` and `sys._xoptions` be those of an interpreter without options."""
    names = [name for name in type(sys.flags).__match_args__ if hasattr(sys.flags, name)]
    put = ctypes.pythonapi.PyStructSequence_SetItem
    put.argtypes = [ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object]
    put.restype = None
    for name, value in RESET.items():
        if getattr(sys.flags, name, value) != value:
            # The function takes over a reference that its caller has.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
            put(sys.flags, names.index(name), value)
    sys._xoptions.pop("utf8", None)


def find_own_modules(plan: JailPlan) -> None:
    """Have modules found in the workspace first, and in own packages before the environment's.

    Where each session has these at the same places, its zygote does it. The environment's come last
    where the zygote has no jail to meet their code in.
    """
    if plan.tier != "namespaces":
        sys.path[:] = [os.getcwd() if entry == WORKSPACE else entry for entry in sys.path]
    home = USUAL_HOME if plan.tier == "namespaces" else os.environ["HOME"]
    places = (at for at, entry in enumerate(sys.path) if entry.endswith("-packages"))
    at = next(places, len(sys.path))
    ahead = plan.tier == "namespaces" or not plan.packages
    sys.path[at:at] = [f"{home}/{OWN_PACKAGES}", *([] if ahead else [plan.packages])]


def find_session_modules(plan: JailPlan) -> None:
    """Have a session find its own modules, as far as its zygote could not see to it."""
    if plan.tier == "namespaces":
        # The zygote may have looked for it, and remember that it has none.
        sys.path_importer_cache.pop(_OWN_PACKAGES, None)
    else:
        find_own_modules(plan)


class UsualNames:
    """Has `/tmp` and `/home/user` called that: the kernel calls them by what they lead to.

    They cannot be mounts in place of links: a Landlock rule looks at what is above a mount point,
    and above `/tmp` is the root. So `os.getcwd` and `os.path.realpath` agree on the usual names;
    `os.readlink` and programs that are started see the links.
    """

    def __init__(self) -> None:
        self._home = USUAL_HOME
        """What the home directory was called when it was last entered."""

    def install(self) -> None:
        """Change the functions of `os` for this process and its forks."""
        os.chdir = _in_place_of(os.chdir, self._entering(os.chdir))
        for module, name in ((os, "getcwd"), (os, "getcwdb"), (os.path, "realpath")):
            asked = getattr(module, name)
            setattr(module, name, _in_place_of(asked, self._naming(asked)))

    def of(self, path: str) -> str:
        """The usual name of what the kernel calls `path`."""
        for root, usual in ((HOME, self._home), (TEMPORARY, "/tmp")):
            if path == root or path.startswith(root + "/"):
                return usual + path[len(root) :]
        return path

    def _entering(self, chdir: Callable[[Any], None]) -> Callable[[Any], None]:
        def enter(path: Any) -> None:
            chdir(path)
            if not isinstance(path, int):
                name = os.path.normpath(os.fsdecode(path))
                if name.startswith("/"):
                    is_alias = name == HOME_ALIAS or name.startswith(HOME_ALIAS + "/")
                    self._home = HOME_ALIAS if is_alias else USUAL_HOME

        return enter

    def _naming(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        def name(*arguments: Any, **options: Any) -> Any:
            path = ask(*arguments, **options)
            usual = self.of(os.fsdecode(path))
            return os.fsencode(usual) if isinstance(path, bytes) else usual

        return name


def _in_place_of(function: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    """`other`, known by the name of `function` to pickle and to readers."""
    known = functools.wraps(function)(other)
    known.__module__ = "os" if function.__module__ == "posix" else function.__module__
    return known
