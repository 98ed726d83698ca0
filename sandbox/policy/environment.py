"""Environment: an interpreter and where its code lives, asked of the interpreter itself."""

import functools
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.errors import EnvironmentFailed
from sandbox.packages import store

OLDEST = (3, 11)
ASK_TIMEOUT_S = 30.0
LINKS_CAP = 40
"""As many symbolic links as the kernel follows in one path (path_resolution(7))."""
SAID_CAP = 500

QUESTION = """\
import json, sys
print()
print(json.dumps({
    "executable": sys.executable, "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]), "sys_path": sys.path,
    "prefix": sys.prefix, "base_prefix": sys.base_prefix,
}))
"""
"""What each interpreter is asked. It must parse on any Python 3, to tell an old one politely."""


class Environment(BaseModel):
    """One interpreter. Paths are absolute and as it spells them, links not resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interpreter: str
    version: tuple[int, int, int]
    prefix: str
    base_prefix: str
    sys_path: tuple[str, ...]
    """Existing entries only, without the ones that a script, a shell or a user adds: as -I."""
    packages: str = ""
    """Directory of a package environment, which is first in `sys_path`; empty for none."""
    links: tuple[str, ...]
    """Every file that following `interpreter` leads through, itself first, the program last."""


class _Answer(BaseModel):
    """What an interpreter says about itself."""

    executable: str
    implementation: str
    version: tuple[int, int, int]
    prefix: str
    base_prefix: str
    sys_path: list[str]


def discover(interpreter: str | None = None) -> Environment:
    """The environment of `interpreter`; None is this process's own.

    It is the name of a package environment, which adds to this process's own, or an interpreter's
    path or name in PATH.

    Blocks while another interpreter is asked, once per path. Raises EnvironmentFailed.
    """
    if interpreter is None:
        return _this()
    if os.sep not in interpreter:
        kept = store.find(interpreter)
        if kept is not None:
            return _with_packages(_this(), kept)
    return _asked(_located(interpreter))


def _with_packages(own: Environment, kept: store.PackageEnvironment) -> Environment:
    """This process's environment with the packages of `kept` before its own."""
    if kept.python != own.version[:2] or kept.platform != sysconfig.get_platform():
        raise EnvironmentFailed(
            kept.name,
            f"it was made for Python {kept.python[0]}.{kept.python[1]} on {kept.platform}, and this"
            f" is {own.version[0]}.{own.version[1]} on {sysconfig.get_platform()}",
            remedy="Create it anew with this interpreter",
        )
    return own.model_copy(update={"packages": kept.site, "sys_path": (kept.site, *own.sys_path)})


def _located(interpreter: str) -> str:
    """The absolute path of the executable file that `interpreter` names."""
    found = interpreter if os.sep in interpreter else shutil.which(interpreter)
    if found is None:
        raise EnvironmentFailed(
            interpreter,
            "no such environment, and no such program in PATH",
            remedy="`cellblock env list` names environments; or give the path of an interpreter",
        )
    path = os.path.abspath(found)
    if not os.path.isfile(path):
        raise EnvironmentFailed(
            path,
            "it is a directory" if os.path.isdir(path) else "no such file",
            remedy="Give the path of an interpreter, such as /usr/bin/python3",
        )
    if not os.access(path, os.X_OK):
        raise EnvironmentFailed(
            path, "it cannot be executed", remedy="Give the path of an interpreter"
        )
    return path


@functools.cache
def _asked(path: str) -> Environment:
    """What the interpreter at `path` says about itself, started in isolated mode."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            env={},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(
            path,
            f"it gave no answer within {ASK_TIMEOUT_S:g} s",
            remedy="Give the path of an interpreter, such as /usr/bin/python3",
        ) from None
    except OSError as error:
        raise EnvironmentFailed(
            path,
            f"it cannot be started: {error.strerror}",
            remedy="Give the path of an interpreter, such as /usr/bin/python3",
        ) from error
    return _understood(path, answer.returncode, answer.stdout, answer.stderr)


def _understood(path: str, status: int, stdout: bytes, stderr: bytes) -> Environment:
    """The environment in the answer of the program at `path`. Raises EnvironmentFailed."""
    try:
        facts = _Answer.model_validate_json(stdout.splitlines()[-1])
    except (IndexError, ValidationError):
        words = stderr.decode(errors="replace").strip()[-SAID_CAP:]
        raise EnvironmentFailed(
            path,
            f"it does not answer as Python 3 does (exit status {status})"
            + (f"; it said: {words}" if words else ""),
            remedy="Give the path of an interpreter, such as /usr/bin/python3",
        ) from None
    _check_version(path, facts.implementation, facts.version)
    return Environment(
        interpreter=facts.executable,
        version=facts.version,
        prefix=os.path.abspath(facts.prefix),
        base_prefix=os.path.abspath(facts.base_prefix),
        sys_path=_existing(facts.sys_path),
        links=tuple(_links(facts.executable)),
    )


def _this() -> Environment:
    """This process's own environment, without what its program added to sys.path."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise EnvironmentFailed(
            sys.executable or "this program",
            "a program with Python built in has no interpreter of its own to start",
            remedy="Give Policy(environment=...) the path of an interpreter",
        )
    path = _located(sys.executable)
    version = sys.version_info[:3]
    _check_version(path, sys.implementation.name, version)
    homes = {os.path.abspath(home) for home in (sys.prefix, sys.base_prefix)}
    named = {os.path.abspath(entry) for entry in _site_entries()}
    return Environment(
        interpreter=path,
        version=version,
        prefix=os.path.abspath(sys.prefix),
        base_prefix=os.path.abspath(sys.base_prefix),
        sys_path=_existing(
            entry
            for entry in sys.path
            if entry
            and (
                os.path.abspath(entry) in named
                or any(os.path.abspath(entry).startswith(home + os.sep) for home in homes)
            )
        ),
        links=tuple(_links(path)),
    )


def _site_entries() -> Iterator[str]:
    """Site directories of this interpreter and the paths that their .pth files add."""
    for directory in site.getsitepackages():
        yield directory
        try:
            names = os.listdir(directory)
        except OSError:
            continue  # getsitepackages names directories that need not exist.
        for name in names:
            if name.endswith(".pth") and not name.startswith("."):
                yield from _pth_entries(directory, name)


def _pth_entries(directory: str, name: str) -> Iterator[str]:
    with open(os.path.join(directory, name), encoding="utf-8-sig", errors="replace") as stream:
        for line in stream:
            entry = line.strip()
            if entry and not entry.startswith(("#", "import ", "import\t")):
                yield os.path.join(directory, entry)


def _existing(entries: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    """Absolute paths of the `entries` that exist, each once."""
    paths = (os.path.abspath(entry) for entry in entries if entry)
    return tuple(dict.fromkeys(path for path in paths if os.path.exists(path)))


def _links(path: str) -> Iterator[str]:
    """`path`, each link that it leads through, and the file at the end."""
    yield path
    for _ in range(LINKS_CAP):
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        yield path
    real = os.path.realpath(path)
    if real != path:
        yield real


def _check_version(path: str, implementation: str, version: tuple[int, int, int]) -> None:
    oldest = ".".join(map(str, OLDEST))
    if implementation != "cpython":
        raise EnvironmentFailed(
            path, f"it is {implementation}, not CPython", remedy=f"Use CPython {oldest} or later"
        )
    if version[:2] < OLDEST:
        raise EnvironmentFailed(
            path,
            f"it is Python {'.'.join(map(str, version))}, the oldest that works is {oldest}",
            remedy=f"Use Python {oldest} or later",
        )
