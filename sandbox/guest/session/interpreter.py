"""The interpreter of a session as a snippet expects one, whatever its zygote was started with.

The zygote is started without `site` and with other flags, so that no code of the environment runs
before the jail stands. By the time of a snippet that is made up for, and programs that pass their
interpreter's flags on (multiprocessing, loky) must not pass those on.
"""

import ctypes
import os
import sys

from sandbox.protocol.plan import OWN_PACKAGES, WORKSPACE, JailPlan

RESET = {  # name in sys.flags: what a plainly started interpreter has
    "no_site": 0,
    "no_user_site": 0,
    "safe_path": False,
    "dont_write_bytecode": 0,
    "isolated": 0,
    "ignore_environment": 0,
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

    By a session, not ahead of it: a directory that was not there would be remembered as such. So
    are the environment's, where the zygote has no jail to meet their code in.
    """
    sys.path[:] = [os.getcwd() if entry == WORKSPACE else entry for entry in sys.path]
    home = "/tmp/home" if plan.tier == "namespaces" else os.environ["HOME"]
    places = (at for at, entry in enumerate(sys.path) if entry.endswith("-packages"))
    at = next(places, len(sys.path))
    ahead = plan.tier == "namespaces" or not plan.packages
    sys.path[at:at] = [f"{home}/{OWN_PACKAGES}", *([] if ahead else [plan.packages])]
