"""Changes to libraries so that they work with code that lies in no file and without a terminal.

Each is made when the library is imported, and only there.
"""

import errno
import functools
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

from sandbox.guest.display.tracebacks import is_engine
from sandbox.guest.language.code_origin import SNIPPET_FILE
from sandbox.guest.language.hooks import ImportHooks
from sandbox.guest.session.main_module import MainModule
from sandbox.guest.survival import pools

DUMPED = re.compile(r'  File "(.*)", line \d+ in (.*)')
LOOPBACK = [("lo", socket.AF_INET, "127.0.0.1", "255.0.0.0", None, None)]
"""As psutil's own C code has it."""
CARD = {
    "net_if_mtu": 65_536,
    "net_if_flags": ["up", "loopback", "running"],
    "net_if_duplex_speed": (0xFF, 0),  # DUPLEX_UNKNOWN of ethtool(8), and no speed.
}
NO_DEBUGGER = "a debugger needs a terminal, and a session has none: print the values instead"


def teach(hooks: ImportHooks, main: MainModule) -> None:
    """Make the changes, now or when the library gets imported."""
    for name, change in (
        ("os", _teach_os),
        ("numba.core.caching", _teach_numba),
        ("pdb", _teach_pdb),
        ("traceback", _teach_traceback),
        ("inspect", _teach_inspect),
        ("psutil._pslinux", _teach_psutil),
        ("faulthandler", _teach_faulthandler),
        ("threadpoolctl", _teach_threadpoolctl),
        ("multiprocessing.spawn", main.teach),
        ("line_profiler.line_profiler", _teach_line_profiler),
    ):
        hooks.when_imported(name, change)


def refuse_to_debug(*_arguments: object, **_options: object) -> NoReturn:
    """What `breakpoint()` comes to. Raises RuntimeError."""
    raise RuntimeError(NO_DEBUGGER)


def _teach_os(module: ModuleType) -> None:
    """Let it tell of the session's memory and load, as /proc does: C code tells of the host's."""
    ask, load = os.sysconf, os.getloadavg
    pages = {"SC_PHYS_PAGES": "MemTotal", "SC_AVPHYS_PAGES": "MemAvailable"}
    rows = {os.sysconf_names[name]: row for name, row in pages.items()}

    @functools.wraps(ask)
    def sysconf(name: Any, /) -> int:
        number = os.sysconf_names.get(name) if type(name) is str else name
        row = rows.get(number) if type(number) is int else None
        size = None if row is None else _meminfo_bytes(row)
        return ask(name) if size is None else size // ask("SC_PAGE_SIZE")

    @functools.wraps(load)
    def getloadavg() -> tuple[float, float, float]:
        try:
            with open("/proc/loadavg", encoding="ascii") as stream:
                one, five, fifteen = map(float, stream.read().split()[:3])
        except (OSError, ValueError):
            return load()
        return one, five, fifteen

    for function in (sysconf, getloadavg):
        function.__module__ = "os"
        setattr(module, function.__name__, function)


def _meminfo_bytes(row: str) -> int | None:
    """What /proc/meminfo says; None where it is not shown. Source: proc_meminfo(5)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            rows = dict(line.split(":", 1) for line in stream)
        return int(rows[row].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def _teach_pdb(module: ModuleType) -> None:
    for name in ("set_trace", "post_mortem", "pm"):
        setattr(module, name, refuse_to_debug)


def _teach_traceback(module: ModuleType) -> None:
    """Let stacks that a snippet prints or logs begin with its own frames."""
    walk: Callable[[Any], Iterator[tuple[Any, int]]] = module.walk_stack

    def walk_stack(f: Any) -> Iterator[tuple[Any, int]]:
        if f is None:
            return walk(f)  # It counts frames from here.
        return ((frame, line) for frame, line in walk(f) if not _is_below_the_snippet(frame))

    setattr(module, "walk_stack", walk_stack)  # noqa: B010


def _teach_inspect(module: ModuleType) -> None:
    """Let `inspect.stack()` end with the snippet's own frames."""
    frames_of: Callable[..., list[Any]] = module.getouterframes

    @functools.wraps(frames_of)
    def getouterframes(frame: Any, context: int = 1) -> list[Any]:
        return [one for one in frames_of(frame, context) if not _is_below_the_snippet(one.frame)]

    setattr(module, "getouterframes", getouterframes)  # noqa: B010


def _teach_faulthandler(module: ModuleType) -> None:
    """Let stacks that a snippet dumps end with its own frames. Those of a crash are C code's."""
    dump: Callable[..., None] = module.dump_traceback

    @functools.wraps(dump)
    def dump_traceback(file: Any = None, all_threads: bool = True) -> None:
        target = sys.stderr if file is None else file
        with tempfile.TemporaryFile("w+", errors="replace") as whole:
            dump(whole, all_threads)
            whole.seek(0)
            lines = whole.read().splitlines(keepends=True)
        own = "".join(_without_engine(lines)).encode()
        if not isinstance(target, int):
            target.flush()
            target = target.fileno()
        os.write(target, own)

    setattr(module, "dump_traceback", dump_traceback)  # noqa: B010


def _without_engine(lines: list[str]) -> Iterator[str]:
    """The lines of a dump; of each thread, those before the engine's frames."""
    is_below = False
    for line in lines:
        place = DUMPED.match(line)
        if place is None:
            is_below = False
        elif not is_below:
            if place[2] == "dump_traceback" and is_engine(place[1]):
                continue  # The call itself.
            is_below = is_engine(place[1])
        if not is_below:
            yield line


def _teach_threadpoolctl(module: ModuleType) -> None:
    """Let it find libraries where /proc is not shown: scikit-learn asks it."""
    kind: Any = getattr(module, "ThreadpoolController", None)
    look = getattr(kind, "_find_libraries_with_linux", None)
    if look is None:
        return

    @functools.wraps(look)
    def find(controller: Any) -> Any:
        try:
            return look(controller)
        except PermissionError:
            for path in sorted(pools.libraries()):
                controller._make_controller_from_path(path)

    kind._find_libraries_with_linux = find


def _teach_psutil(module: ModuleType) -> None:
    """Let it read of the network where that is shown: /proc/net is missing, a link to self/net.

    Of the one interface it tells what it would ask the kernel by calls that are refused.
    """
    owners = [getattr(module, name, None) for name in ("cext", "cext_posix")]
    for owner, name, refused, known in (
        (module, "net_if_addrs", errno.EAFNOSUPPORT, LOOPBACK),
        *((owner, name, errno.ENOTTY, told) for owner in owners for name, told in CARD.items()),
    ):
        asked = getattr(owner, name, None)
        if asked is not None:
            setattr(owner, name, _or_else(asked, refused, known))

    def reading(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def read(path: Any, *arguments: Any, **options: Any) -> Any:
            if type(path) is str and path.startswith("/proc/net/"):
                path = "/proc/self/net/" + path.removeprefix("/proc/net/")
            return function(path, *arguments, **options)

        return read

    for owner, name, kind in (
        (module, "open_text", reading),
        # These ask whether the file is there. Before psutil 6 the class has another name.
        *(
            (getattr(module, tables, None), name, lambda found: staticmethod(reading(found)))
            for tables in ("NetConnections", "Connections")
            for name in ("process_inet", "process_unix")
        ),
    ):
        found = getattr(owner, name, None)
        if found is not None:
            setattr(owner, name, kind(found))


def _or_else(function: Callable[..., Any], refused: int, known: Any) -> Callable[..., Any]:
    """`function`, which returns `known` where the kernel refuses it with that number."""

    @functools.wraps(function)
    def ask(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OSError as error:
            if error.errno != refused:
                raise
            return known

    return ask


def _is_below_the_snippet(frame: Any) -> bool:
    """Whether `frame` is the engine's, or the one line that started it."""
    return is_engine(frame.f_code.co_filename) or (
        frame.f_back is None and frame.f_code.co_filename == "<string>"
    )


def _teach_numba(module: ModuleType) -> None:
    """Let numba cache functions of snippets, as it does those of notebooks."""
    base: Any = getattr(module, "IPythonCacheLocator", None) or getattr(
        module, "_IPythonCacheLocator", None
    )
    if base is None:
        return

    class SnippetCacheLocator(base):  # type: ignore[misc]
        """Where compiled functions of snippets are kept: for the session."""

        def get_cache_path(self) -> str:
            home = os.environ.get("HOME") or tempfile.gettempdir()
            return os.path.join(home, ".cache", "numba")

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            if not py_file.startswith(SNIPPET_FILE):
                return None
            locator = cls(py_func, py_file)
            try:
                locator.ensure_cache_path()
            except OSError:
                return None
            return locator

    for kind in vars(module).values():
        classes = getattr(kind, "_locator_classes", None)
        if isinstance(classes, list) and SnippetCacheLocator not in classes:
            classes.append(SnippetCacheLocator)


def _teach_line_profiler(module: ModuleType) -> None:
    """Let the profiler find the lines of a snippet, which lie in no file."""
    known: Callable[[str], bool] | None = getattr(module, "is_generated_code", None)
    if known is not None:
        setattr(  # noqa: B010
            module,
            "is_generated_code",
            lambda file: file.startswith(SNIPPET_FILE) or known(file),
        )
