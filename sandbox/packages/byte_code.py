"""Byte code of an environment's packages that the engine keeps, for sessions to import from.

In an environment without byte code, such as one that `uv` made, each fresh session would compile
`pandas` anew: a jail cannot write it. While a sandbox is open, a process of the host's compiles
what lacks it (`guest/boot/compile_ahead.py`), into a directory of the user's cache that sessions
see read-only. That process reads the environment's sources and runs none of them; nothing that a
session wrote gets there. Where the directory cannot be had, sessions go without it.
"""

import hashlib
import json
import logging
import os
import stat
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from sandbox.policy.environment import Environment
from sandbox.protocol.trees import remove_tree

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from sandbox.guest.boot.compile_ahead import main; main(sys.argv[2:])"
)
FLAGS = ("-I", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP)
FILES = "files"
"""What sessions see; what is beside it they do not."""
DONE = "done.json"
DONE_CAP_BYTES = 1 << 20
SHOWN = 0o755
"""Sessions may run under other ids; what is above is closed to them, and mounted by name."""
PRIVATE = 0o700
ENVIRONMENTS_KEPT = 8
ENDS_WITHIN_S = 10.0

log = logging.getLogger(__name__)


def cache_directory() -> str:
    """The user's own; it need not be there. Empty if the user has none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # As the XDG Base Directory Specification wants it.
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "cellblock", "byte-code") if os.path.isabs(base) else ""


class ByteCode:
    """What is kept for one environment. `directory` is for sessions; empty where there is none."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = ""
        self._own = ""

    def prepare(self) -> None:
        """Find the directory, or make it; `directory` stays empty where that cannot be."""
        top = cache_directory()
        if not top:
            return
        own = os.path.join(top, _key(self._environment))
        try:
            os.makedirs(os.path.dirname(os.path.dirname(top)), exist_ok=True)
            for path in (os.path.dirname(top), top, own):
                _make_own(path, PRIVATE)
            _make_own(os.path.join(own, FILES), SHOWN)
            os.utime(own)
            _forget_oldest(top)
        except OSError as error:
            log.info("no byte code is kept in %s: %s", top, error)
            return
        self._own, self.directory = own, os.path.join(own, FILES)

    @property
    def is_whole(self) -> bool:
        """Whether all packages were compiled, and none was added since."""
        try:
            with open(os.path.join(self._own, DONE), "rb") as stream:
                seen = json.loads(stream.read(DONE_CAP_BYTES))
        except (OSError, ValueError):
            return False
        now = {
            path: os.stat(path).st_mtime_ns
            for path in self._environment.sys_path
            if os.path.isdir(path)
        }
        return bool(seen == now)

    def start(self) -> None:
        """Have what is missing compiled, by a process that ends with `stop` at the latest."""
        if not self.directory or self._process is not None or self.is_whole:
            return
        try:
            self._process = subprocess.Popen(
                [
                    *(self._environment.interpreter, *FLAGS, PACKAGE_PARENT, str(os.getpid())),
                    *(self.directory, os.path.join(self._own, DONE)),
                    *self._environment.sys_path,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            log.info("packages are not compiled ahead: %s", error)
            return
        # Reaped as soon as it is done, or a host that looks at its children finds a zombie.
        threading.Thread(target=self._process.wait, name="byte code", daemon=True).start()

    def wait(self, within_s: float) -> bool:
        """Wait until all is compiled; False if it is not. Raises TimeoutExpired."""
        if self._process is not None:
            self._process.wait(within_s)
        return self.is_whole

    def stop(self) -> None:
        """End the process that compiles; what it has compiled stays."""
        if self._process is not None:
            self._process.kill()
            try:
                self._process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                log.warning("the process that compiles has not ended in %g s", ENDS_WITHIN_S)
            self._process = None


def _key(environment: Environment) -> str:
    """A name for what the environment's byte code depends on, but for its sources."""
    facts = (
        os.path.realpath(environment.interpreter),
        environment.version,
        environment.sys_path,
    )
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _make_own(path: str, mode: int) -> None:
    """Make the directory, or find it to be this user's alone to write. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(path, mode)
        os.chmod(path, mode)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{path} is no directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} can be written by another user")


def _forget_oldest(top: str) -> None:
    """Remove what was used longest ago, beyond so many environments."""
    with os.scandir(top) as entries:
        found = sorted(
            (entry.stat(follow_symlinks=False).st_mtime, entry.path)
            for entry in entries
            if entry.is_dir(follow_symlinks=False)
        )
    for when, path in found[:-ENVIRONMENTS_KEPT]:
        if time.time() - when > 3600:  # Another sandbox may be about to use it.
            remove_tree(path)
