"""Makes package environments: locked with hashes, unpacked from wheels, compiled in a jail."""

import importlib.metadata
import os
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence

from sandbox.blocking import Sandbox
from sandbox.errors import LayerUnavailable, PackagesNotInstalled, PolicyError
from sandbox.events import Stdout
from sandbox.packages import store
from sandbox.packages.installer import Installer, Sources, checked_requirements
from sandbox.packages.store import PackageEnvironment
from sandbox.policy.environment import discover
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Mount, Policy
from sandbox.protocol.trees import remove_tree

TIMEOUT_S = 1800.0
COMPILED_WITHIN_S = 900.0
COMPILED_AT = "/site"
PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?==", re.MULTILINE)
COUNTED = re.compile(r"^(\d{1,9}) (\d{1,9})$", re.MULTILINE)
COMPILE_MEMORY_BYTES = 2 * 1024**3
COMPILE = f"""
import compileall, os
paths = [
    os.path.join(root, name)
    for root, _, names in os.walk({COMPILED_AT!r}) for name in names if name.endswith('.py')
]
for number, path in enumerate(paths, 1):
    compileall.compile_file(path, quiet=2)
    if number % 20 == 0 or number == len(paths):
        print(number, len(paths), flush=True)
"""
"""In a jail, because the sources are not ours: nothing of them is even parsed on the host."""


def create_environment(
    name: str,
    packages: Sequence[str] = (),
    *,
    files: Sequence[str] = (),
    locked: str | None = None,
    find_links: Sequence[str] = (),
    offline: bool = False,
    index_url: str | None = None,
    builds: bool = False,
    timeout_s: float = TIMEOUT_S,
    on_progress: Callable[[str, int, int], None] = lambda _doing, _done, _total: None,
) -> PackageEnvironment:
    """Make the environment `name` of `packages` and what requirement `files` name.

    Every package is locked with its hashes first; `locked` is a file with such a lock, which is
    taken as it is. Wheels alone are taken, unless `builds`: that runs code of packages on this
    machine. For `Policy(environment=name)`. `on_progress` is told what is done ("lock", "unpack",
    "compile"), how far and of how much; 0 while that is not known. Raises PolicyError,
    PackagesNotInstalled.
    """
    store.checked_name(name)
    if os.path.lexists(os.path.join(store.environments_directory(), name)):
        raise PolicyError(
            "environment",
            f"{name!r} is there already",
            f"Remove it with `cellblock env remove {name}`, or choose another name",
        )
    wanted = checked_requirements(packages) if packages else ()
    if (locked is not None) == bool(wanted or files):
        raise PolicyError("packages", "are wanted, or a lock, and not both", "Name one of them")
    for file in (*files, *([locked] if locked is not None else [])):
        if not os.path.isfile(file):
            raise PolicyError("packages", f"{file!r} is no file", "Name a requirements file")
    own = discover()
    sources = Sources(
        find_links=tuple(find_links), offline=offline, index_url=index_url, builds=builds
    )
    making = tempfile.mkdtemp(prefix=".making-", dir=_own_directory())
    lock, site = os.path.join(making, store.LOCK), os.path.join(making, store.SITE)
    step, total = "lock", 0

    def look() -> None:
        on_progress(step, _unpacked(site) if total else 0, total)

    try:
        installer = Installer(own.interpreter, sources, timeout_s=timeout_s, on_look=look)
        os.mkdir(site)
        look()
        text = (
            _read(locked)
            if locked is not None
            else installer.lock(wanted, [os.path.abspath(file) for file in files])
        )
        with open(lock, "w", encoding="utf-8") as stream:
            stream.write(text)
        step, total = "unpack", len(PINNED.findall(text))
        look()
        installer.unpack([], site, lock=lock)
        look()
        _compile(site, on_progress)
        found = importlib.metadata.distributions(path=[site])
        made = PackageEnvironment(
            name=name,
            python=own.version[:2],
            platform=sysconfig.get_platform(),
            requested=(*wanted, *(f"-r {os.path.basename(file)}" for file in files)),
            packages=dict(sorted((one.metadata["Name"] or "", one.version) for one in found)),
            size_bytes=_size_of(site),
            made_at=time.time(),
        )
        with open(os.path.join(making, store.FACTS), "w", encoding="utf-8") as stream:
            stream.write(made.model_dump_json(indent=2))
        for path in (making, site):
            os.chmod(path, store.SHOWN)
        os.rename(making, made.directory)
    except BaseException:
        remove_tree(making)
        raise
    return made


def environments() -> list[PackageEnvironment]:
    """The environments that are there, by name. Raises EnvironmentFailed for a damaged one."""
    found = [store.find(name) for name in store.names()]
    return [one for one in found if one is not None]


def find_environment(name: str) -> PackageEnvironment | None:
    """The environment `name`; None if there is none. Raises EnvironmentFailed."""
    return store.find(name)


def remove_environment(name: str) -> bool:
    """Remove the environment `name`; False if it is not there. Sessions in it lose its packages."""
    return store.remove(name)


def _own_directory() -> str:
    """Where environments are kept, made if it is missing, closed to other users."""
    path = store.environments_directory()
    kept = os.path.dirname(path)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    for each in (kept, path):
        os.makedirs(each, mode=store.PRIVATE, exist_ok=True)
    return path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(store.FACTS_CAP_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise PackagesNotInstalled((), "failed", f"{path} cannot be read: {problem}") from error
    if "--hash=" not in text:
        raise PackagesNotInstalled(
            (), "failed", f"{path} has no hashes", "Make a lock with `cellblock env lock`"
        )
    return text


def _unpacked(site: str) -> int:
    """How many packages are in `site`."""
    return sum(name.endswith(".dist-info") for name in os.listdir(site))


def _compile(site: str, on_progress: Callable[[str, int, int], None]) -> None:
    """Have byte code beside the sources: a jail cannot write it later, and imports are slow."""
    policy = Policy(
        mounts=(Mount(host=site, target=COMPILED_AT, access="rw"),),
        survive=False,
        limits=Limits(
            wall_s=COMPILED_WITHIN_S, cpu_s=COMPILED_WITHIN_S, memory_bytes=COMPILE_MEMORY_BYTES
        ),
    )
    try:
        with Sandbox(policy, pool_size=0) as box:
            for event in box.stream(COMPILE):
                if isinstance(event, Stdout) and (told := COUNTED.findall(event.text)):
                    on_progress("compile", *map(int, told[-1]))
    except LayerUnavailable:
        return  # Without it imports take longer; `cellblock doctor` says what is missing.


def _size_of(directory: str) -> int:
    return sum(
        os.lstat(os.path.join(root, name)).st_size
        for root, _directories, names in os.walk(directory)
        for name in names
    )
