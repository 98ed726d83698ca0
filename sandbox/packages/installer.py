"""Resolves, locks and unpacks wheels with `uv`, or with pip where there is no uv.

Only wheels are taken, unless building is asked for: a wheel is unpacked and nothing of it runs.
The programs run in a directory of their own, so that no project's settings are met; those of the
user, such as an index, hold.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sandbox.errors import PackagesNotInstalled, PolicyError

REQUIREMENTS_CAP = 200
REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\s*\[[A-Za-z0-9,._ -]{0,200}\])?"
    r"\s*((===|==|>=|<=|~=|!=|<|>)\s*[A-Za-z0-9.*+!_-]{1,100}\s*(,\s*|$|(?=;)))*(;[^\n]{1,200})?"
)
"""A name with extras, versions and a marker (PEP 508); no path, no URL, no option."""
PIN = re.compile(r"^ \+ ([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s]+)", re.MULTILINE)
TIMEOUT_S = 300.0
LOOKS_EVERY_S = 0.1
SAID_CAP = 1500
OFFLINE = re.compile(
    r"network was disabled|Failed to fetch|error sending request|dns error|NewConnectionError"
    r"|Temporary failure in name resolution|Connection refused|Network is unreachable"
    r"|Max retries exceeded|timed out",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(
    r"No solution found|No matching distribution|Could not find a version|not found in the"
    r"|has no usable wheels|no wheels",
    re.IGNORECASE,
)


class Pin(NamedTuple):
    """One package as it was resolved."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where packages come from."""

    find_links: tuple[str, ...] = ()
    """Directories of wheels."""
    offline: bool = False
    """Use nothing but those, and what is in the cache of `uv`."""
    index_url: str | None = None
    builds: bool = False
    """Whether packages without a wheel are built: that runs their own code on this machine."""


def checked_requirements(requirements: Sequence[str]) -> tuple[str, ...]:
    """`requirements`, if each is a package by name. Raises PolicyError."""
    if isinstance(requirements, str):
        raise PolicyError("packages", f"is {requirements!r}", "Give a list of texts")
    if not 0 < len(requirements) <= REQUIREMENTS_CAP:
        raise PolicyError(
            "packages", f"has {len(requirements)} entries", f"Give 1 to {REQUIREMENTS_CAP}"
        )
    for index, one in enumerate(requirements):
        if not isinstance(one, str) or not REQUIREMENT.fullmatch(one.strip()):
            raise PolicyError(
                f"packages[{index}]",
                f"is {one!r}",
                "Name a package and its versions, as in 'humanize==4.*'; paths and URLs are not"
                " taken",
            )
    return tuple(one.strip() for one in requirements)


class Installer:
    """What resolves and unpacks for one interpreter."""

    def __init__(
        self,
        interpreter: str,
        sources: Sources,
        *,
        timeout_s: float = TIMEOUT_S,
        is_cancelled: Callable[[], bool] = lambda: False,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_look` is called now and then while a program runs."""
        self._interpreter = interpreter
        self._sources = sources
        self._until = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._is_cancelled = is_cancelled
        self._on_look = on_look
        self._uv = shutil.which("uv")
        if self._uv is None and importlib.util.find_spec("pip") is None:
            raise PackagesNotInstalled(
                (), "no_installer", "there is no uv and no pip here", "Install uv"
            )

    @property
    def uses_uv(self) -> bool:
        """Whether it is `uv`; else pip."""
        return self._uv is not None

    def missing(self, requirements: Sequence[str]) -> list[Pin]:
        """What `requirements` need beyond the interpreter's own packages."""
        if self._uv is not None:
            command = ["pip", "install", "--dry-run", "--break-system-packages"]
            command += ["--python", self._interpreter, *self._from(), *requirements]
            said = self._run([self._uv, *command, "--color", "never"], requirements)
            return [Pin(name, version) for name, version in PIN.findall(said)]
        return [pin for pin, _hash in self._reported(requirements, is_overlay=True)]

    def lock(self, requirements: Sequence[str], files: Sequence[str] = ()) -> str:
        """Every package that `requirements` and those in `files` need, with its hashes."""
        if self._uv is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as stream:
                stream.write("".join(f"{one}\n" for one in requirements))
                stream.flush()
                command = [self._uv, "pip", "compile", "--quiet", "--generate-hashes"]
                command += ["--no-header", "--no-annotate", "--color", "never"]
                command += ["--python", self._interpreter, *self._from(), stream.name, *files]
                return self._run(command, requirements, joined=False)
        rows = self._reported(requirements, files, is_overlay=False)
        return "".join(f"{pin} \\\n    --hash={found}\n" for pin, found in rows)

    def unpack(self, pins: Sequence[str], target: str, *, lock: str = "") -> None:
        """Unpack exactly `pins`, or what the file `lock` holds, into the directory `target`."""
        wanted = ["--require-hashes", "-r", lock] if lock else ["--no-deps", *pins]
        command = ["--target", target, *self._from(), *wanted]
        if self._uv is not None:
            whole = [self._uv, "pip", "install", "--quiet", "--color", "never"]
            whole += ["--link-mode", "copy", "--python", self._interpreter, *command]
        else:
            whole = [*self._pip(), "install", "--no-compile", *command]
        self._run(whole, pins)

    def _from(self) -> list[str]:
        """Options that say where packages come from."""
        sources = self._sources
        options = [] if sources.builds else ["--only-binary", ":all:"]
        for directory in sources.find_links:
            options += ["--find-links", os.path.abspath(directory)]
        if sources.index_url:
            options += ["--index-url", sources.index_url]
        if sources.offline:
            options += ["--no-index"] if sources.find_links or self._uv is None else []
            options += ["--offline"] if self._uv is not None else []
        return options

    def _pip(self) -> list[str]:
        return [
            *(sys.executable, "-m", "pip", "--python", self._interpreter),
            *("--disable-pip-version-check", "--no-input", "--quiet"),
        ]

    def _reported(
        self, requirements: Sequence[str], files: Sequence[str] = (), *, is_overlay: bool
    ) -> list[tuple[Pin, str]]:
        """What pip would install, each with a hash."""
        with tempfile.TemporaryDirectory() as directory:
            report = os.path.join(directory, "report.json")
            command = [*self._pip(), "install", "--dry-run", "--report", report, *self._from()]
            command += [] if is_overlay else ["--ignore-installed"]
            command += [word for file in files for word in ("-r", file)]
            self._run([*command, *requirements], requirements)
            with open(report, encoding="utf-8") as stream:
                rows = json.load(stream)["install"]
        return [
            (
                Pin(row["metadata"]["name"], row["metadata"]["version"]),
                "sha256:" + _sha256_of(row["download_info"]),
            )
            for row in rows
        ]

    def _run(
        self, command: Sequence[str], requirements: Sequence[str], *, joined: bool = True
    ) -> str:
        """What the program says; `joined` with what it says on stderr. Raises otherwise."""
        with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said if joined else subprocess.PIPE,
                cwd=directory,
                start_new_session=True,
            )
            words = b""
            try:
                while True:
                    try:
                        _out, words = process.communicate(timeout=LOOKS_EVERY_S)
                        break
                    except subprocess.TimeoutExpired:
                        if self._is_cancelled() or time.monotonic() > self._until:
                            raise self._late(requirements) from None
                        self._on_look()
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
            said.seek(0)
            text = said.read().decode(errors="replace")
        if process.returncode:
            raise self._failure(requirements, text + (words or b"").decode(errors="replace"))
        return text

    def _late(self, requirements: Sequence[str]) -> PackagesNotInstalled:
        return PackagesNotInstalled(
            requirements,
            "timeout",
            f"it took longer than {self._timeout_s:g} s",
            "Try again, or raise timeout_s",
        )

    def _failure(self, requirements: Sequence[str], said: str) -> PackagesNotInstalled:
        words = " ".join(said.split())[-SAID_CAP:]
        if OFFLINE.search(said):
            return PackagesNotInstalled(
                requirements,
                "offline",
                f"the package index was not reached: {words}",
                "Give a directory of wheels with find_links, or connect this machine",
            )
        if NOT_FOUND.search(said):
            return PackagesNotInstalled(
                requirements,
                "not_found",
                f"there is no such package, version or wheel: {words}",
                "Check the names and versions; packages without a wheel are not built",
            )
        return PackagesNotInstalled(requirements, "failed", words)


def _sha256_of(download: dict[str, Any]) -> str:
    """The hash that a row of pip's report has; before pip 23.1 it stood elsewhere, or nowhere."""
    archive = download.get("archive_info", {})
    if found := archive.get("hashes", {}).get("sha256"):
        return str(found)
    kind, _, found = archive.get("hash", "").partition("=")
    if kind == "sha256" and found:
        return str(found)
    url = urllib.parse.urlsplit(download["url"])
    if url.scheme != "file":
        raise PackagesNotInstalled(
            (), "failed", f"pip names no hash of {download['url']}", "Update pip, or install uv"
        )
    with open(urllib.request.url2pathname(url.path), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
