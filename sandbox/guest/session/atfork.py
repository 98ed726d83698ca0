"""Runs the after-fork hooks that a session needs and skips the costly ones.

A session is a fork of the zygote, where the standard library has registered functions too
(`os.register_at_fork`). They make locks new that another thread could hold, of which the zygote
has none, and touch 170 pages that each session would have to copy. What else they do, a session
does itself (`run_fork_hooks`). If a preloaded package has registered one, all are called.
"""

import os
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sandbox.guest.kernel import sysapi

_foreign: list[str] = []
"""Modules outside of the standard library that registered a function for children."""


@contextmanager
def watched() -> Iterator[None]:
    """Record which modules register functions for children of this process meanwhile."""
    register = os.register_at_fork

    def notice(**functions: Callable[[], object]) -> None:
        register(**functions)
        if "after_in_child" in functions:
            # A built-in method, such as that of a lock, does not say whose it is.
            module = getattr(functions["after_in_child"], "__module__", None) or "builtins"
            if module.partition(".")[0] not in sys.stdlib_module_names:
                _foreign.append(module)

    os.register_at_fork = notice  # type: ignore[assignment]
    try:
        yield
    finally:
        os.register_at_fork = register


def run_fork_hooks() -> None:
    """Run the hooks that a session needs, in the child of `sysapi.fork` that becomes one."""
    if _foreign:
        sysapi.run_fork_hooks()
    else:
        random.seed()
    name_main_thread()


def name_main_thread() -> None:
    """Give `threading` the kernel's number of the main thread, which a fork changes."""
    # CPython leaves the parent's number there, and no public name sets it.
    main = threading.main_thread()
    main._native_id = threading.get_native_id()  # type: ignore[attr-defined]


def renew() -> None:
    """Renew what sessions that one zygote forked may not have in common."""
    _forget_temporary_directory()
    _reseed()


def _forget_temporary_directory() -> None:
    """Have the directory looked up anew: a package may have found the zygote's own."""
    tempfile.tempdir = None


def _reseed() -> None:
    """Make sources of chance differ between sessions that one zygote forked.

    `run_fork_hooks` sees to `random`; numpy's global generator does not reseed itself after a fork.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "little"))
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        vars(uuid)["_last_timestamp"] = None
