"""Compiles the packages of an environment into a directory of the engine's, while there is time.

The host starts it (`packages/byte_code.py`) with the environment's own interpreter, as
`python -I -S -B -c BOOTSTRAP HOST DIRECTORY DONE PATH...`. It reads sources and runs nothing of
them: no `site`, no path file, no import from the environment. It takes time that hardly any other
process wants, and ends with the host. What it has compiled stays, each file whole or not at all.
"""

import ctypes
import fcntl
import importlib.metadata
import json
import os
import py_compile
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import cache_from_source

from sandbox.guest.language.import_clock import HEAVY

SOURCE_CAP_BYTES = 4 * 1024**2
KEPT_CAP_BYTES = 512 * 1024**2
FILES_CAP = 60_000
CPU_S = 900
DATA_CAP_BYTES = 4 * 1024**3
HEADER_BYTES = 16
LEFT_OUT = frozenset(
    ("test", "tests", "__pycache__", "idlelib", "lib2to3", "turtledemo", "node_modules")
)
"""Directories that hardly any session imports from."""
DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PR_SET_PDEATHSIG = 1
NICENESS = 19


def main(arguments: Sequence[str]) -> None:
    """Compile what has no byte code; then say so in the file DONE."""
    host, kept, done, *paths = arguments
    _give_way(int(host))
    lock = os.open(f"{done}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # Another process is at it.
    seen = stamps(paths)
    compile_into(kept, sources(paths))
    with open(f"{done}.new", "w", encoding="utf-8") as stream:
        json.dump(seen, stream)
    os.replace(f"{done}.new", done)


def _give_way(host: int) -> None:
    """Run when hardly anything else wants to, and end when the process `host` does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != host:
        os._exit(1)  # It ended before it could be told of.
    # Not SCHED_IDLE: on a busy machine that has no time to end in, either.
    os.nice(NICENESS)
    # Niceness counts within a group only, where each session of processes is one: sched(7).
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as stream:
        stream.write(str(NICENESS))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_CAP_BYTES, DATA_CAP_BYTES))
    warnings.simplefilter("ignore")  # Sources that warn warn again when they are imported.


def stamps(paths: Sequence[str]) -> dict[str, int]:
    """When each directory of `paths` last got or lost an entry: a new package is one."""
    return {path: os.stat(path).st_mtime_ns for path in paths if os.path.isdir(path)}


def compile_into(kept: str, found: Iterator[str]) -> int:
    """Compile each source that has no byte code yet into `kept`; how many that were."""
    compiled = size = 0
    for number, source in enumerate(dict.fromkeys(found)):
        if number >= FILES_CAP or size > KEPT_CAP_BYTES:
            break
        target = kept + cache_from_source(source)
        try:
            status = os.stat(source)
            if _is_current(target, status):
                size += os.stat(target).st_size
                continue
            if status.st_size > SOURCE_CAP_BYTES or _is_current(cache_from_source(source), status):
                continue
            py_compile.compile(
                source,
                target,
                doraise=True,
                quiet=2,
                invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
            )
            size += os.stat(target).st_size
            compiled += 1
        # Templates and tests of a package may be no Python, and files come and go.
        except (OSError, py_compile.PyCompileError, ValueError, RecursionError, MemoryError):
            continue
    return compiled


def _is_current(byte_code: str, source: os.stat_result) -> bool:
    """Whether the file `byte_code` is there for this state of its source."""
    try:
        with open(byte_code, "rb") as stream:
            header = stream.read(HEADER_BYTES)
    except OSError:
        return False
    when, size = (int.from_bytes(header[at : at + 4], "little") for at in (8, 12))
    flags = int.from_bytes(header[4:8], "little")
    return bool(flags) or (when, size) == (
        int(source.st_mtime) & 0xFFFFFFFF,
        source.st_size & 0xFFFFFFFF,
    )


# ---- which files --------------------------------------------------------------------------------


def sources(paths: Sequence[str]) -> Iterator[str]:
    """Sources below `paths`: the standard library's, then packages that take long, then others."""
    sites = [path for path in paths if path.endswith("-packages")]
    for path in paths:
        if path not in sites and os.path.isdir(path):
            yield from _below(path)
    yield from _heavy(sites)
    for path in sites:
        yield from _below(path)


def _below(directory: str) -> Iterator[str]:
    for root, directories, names in os.walk(directory):
        directories[:] = sorted(
            name
            for name in directories
            if name not in LEFT_OUT and not (name.endswith("-packages") and root == directory)
        )
        yield from (os.path.join(root, name) for name in sorted(names) if name.endswith(".py"))


def _heavy(sites: Sequence[str]) -> Iterator[str]:
    """Sources of heavy packages and of what they need."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for one in importlib.metadata.distributions(path=list(sites)):
        found.setdefault(_normal(one.metadata["Name"] or ""), one)
    waiting = [
        name
        for name, one in found.items()
        if HEAVY.intersection((one.read_text("top_level.txt") or "").split())
        or HEAVY.intersection((name, name.replace("-", "_")))
    ]
    seen = set(waiting)
    for name in waiting:
        one = found[name]
        for file in one.files or ():
            if file.suffix == ".py" and not LEFT_OUT.intersection(file.parts[:-1]):
                yield os.path.normpath(str(one.locate_file(file)))
        for requirement in one.requires or ():
            match = DISTRIBUTION.match(requirement)
            needed = _normal(match[0]) if match and "extra ==" not in requirement else ""
            if needed in found and needed not in seen:
                seen.add(needed)
                waiting.append(needed)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
