"""What each audit event says was tried, and whether the jail lets it.

An event comes before the call that it tells of. Whether a file can be had is found out by looking,
as the call itself is about to do: the errno of that look is what decides. Guest code can lie in
every argument; nothing of it is called, and only plain types are shown.
"""

import _thread
import os
import pathlib
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from sandbox.protocol.bounds import NAME_CAP
from sandbox.protocol.plan import (
    HOME_ALIAS,
    SHARED_MEMORY,
    TEMPORARY,
    WORKSPACE,
    WORKSPACE_ALIAS,
    JailPlan,
)

thread_id = _thread.get_ident
_stat, _open, _close, _access = os.stat, os.open, os.close, os.access
WORDS_CAP = 400
"""Characters of a command, an address, a piece of code."""
LISTED = 16
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LOOK = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
OWN_ROOTS = (WORKSPACE, WORKSPACE_ALIAS, "/tmp", TEMPORARY, SHARED_MEMORY, HOME_ALIAS)
QUIET = (  # what libraries read as a matter of course
    *("/usr/", "/lib", "/bin/", "/sys/", "/proc/", "/dev/", "/opt/"),
    *("/etc/localtime", "/etc/mime.types", "/etc/ssl/", "/etc/fonts/", "/etc/pki/"),
)
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
NOT_SHOWN = "the jail shows no such path of the host"
NOT_THERE = "there is no such file"
READ_ONLY = "nothing outside of the workspace and /tmp can be written"
NO_NETWORK = "the session has no network but its own loopback"
NOT_ITS_OWN = "a signal reaches processes of the session alone"
NO_SOCKETS = "sockets cannot be made in this tier"


class Tried(NamedTuple):
    """One thing that was tried; `what` is short, `arguments` has the parts."""

    layer: str
    """The layer that decided on it."""
    action: str
    what: str
    arguments: dict[str, str]
    is_allowed: bool
    rule: str


class Judge:
    """Says what the jail makes of paths and addresses, as far as can be seen from inside."""

    def __init__(self, plan: JailPlan) -> None:
        self._has_network = plan.asks_for("net_namespace")
        self.has_sockets = plan.tier != "landlock"
        self._scopes_signals = plan.tier == "landlock"
        self._is_open = bool(plan.listen_ports)
        self._files_layer = "mount_namespace" if plan.asks_for("mount_namespace") else plan.tier
        self._own: tuple[str, ...] = OWN_ROOTS
        self._installed = tuple({sys.prefix + "/", sys.base_prefix + "/", *QUIET})

    def enter(self, workspace: str, scratch: str) -> None:
        """Begin a session whose own directories these are."""
        if self._files_layer != "mount_namespace":
            self._own = (workspace, scratch)
        self._home = os.environ.get("HOME", "/tmp/home")

    def is_own(self, path: str) -> bool:
        """Whether the session may write below there."""
        return path.startswith("/dev/") or any(
            path == root or path.startswith(root + "/") for root in self._own
        )

    def is_quiet(self, path: str) -> bool:
        """Whether libraries read there as a matter of course."""
        return path.startswith(self._installed)

    def read(self, path: str) -> tuple[bool, str]:
        """Whether `path` can be read, and why not."""
        try:
            kind = _stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            is_here = self.is_own(path) and not self.is_of_home(path)
            return (True, NOT_THERE) if is_here else (False, NOT_SHOWN)
        except OSError as error:
            return False, error.strerror or "it cannot be looked at"
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return True, ""
        return self._look(path, os.O_RDONLY)

    def write(self, path: str) -> tuple[bool, str]:
        """Whether `path` can be written or made, and why not."""
        if self.is_own(path):
            return True, ""
        try:
            if stat.S_ISREG(_stat(path).st_mode):
                return self._look(path, os.O_WRONLY)
        except OSError:
            pass
        may = _access(os.path.dirname(path) or "/", os.W_OK)
        may = may and self._files_layer == "mount_namespace"
        return (True, "") if may else (False, READ_ONLY)

    def is_of_home(self, path: str) -> bool:
        """Whether it lies in the home directory, where a host would have what is private."""
        return path.startswith((self._home + "/.", HOME_ALIAS + "/."))

    def _look(self, path: str, flags: int) -> tuple[bool, str]:
        try:
            _close(_open(path, flags | _LOOK))
        except OSError as error:
            return False, READ_ONLY if flags else error.strerror or "it cannot be opened"
        return True, ""

    def file(self, action: str, path: str, mode: str, *, writes: bool) -> Tried:
        """An attempt on a file."""
        allowed, rule = self.write(path) if writes else self.read(path)
        return Tried(
            self._files_layer, action, path[:NAME_CAP], {"path": path[:NAME_CAP], "mode": mode},
            allowed, rule,
        )  # fmt: skip

    def signal(self, target: int) -> tuple[str, bool, str]:
        """The layer that decides on a signal to `target`; whether it may be, and why not.

        Where init is asked about signals, it tells of those that are refused.
        """
        if self._scopes_signals and target > 0:
            try:
                os.kill(target, 0)
            except PermissionError:
                return "landlock", False, NOT_ITS_OWN
            except OSError:
                pass
        return "guest", True, ""

    def address(self, action: str, host: str, port: str) -> Tried:
        """An attempt on an address of the network."""
        what = f"{host}:{port}" if port else host
        arguments = {"host": host, "port": port} if port else {"host": host}
        if not self.has_sockets:
            return Tried("seccomp", action, what, arguments, False, NO_SOCKETS)
        if host.startswith(LOOPBACK) or not host or not self._has_network:
            return Tried("net_namespace", action, what, arguments, True, "")
        return Tried("net_namespace", action, what, arguments, False, NO_NETWORK)

    def url(self, url: str, method: str) -> Tried:
        """A request for a URL, whether it goes to the proxy or nowhere."""
        host, port = _host_of(url)
        tried = self.address("request", host, port)
        arguments = {**tried.arguments, "url": url, "method": method}
        if self._is_open and self.has_sockets:
            return Tried("network", "request", url, arguments, True, "the proxy decides")
        return tried._replace(what=url, arguments=arguments)


Reader = Callable[[Judge, tuple[object, ...], bool], Iterator[Tried]]


# ---- files --------------------------------------------------------------------------------------


def _opened(judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    path, mode, flags = _path(arguments[0]), arguments[1], arguments[2]
    if path is None or type(flags) is not int:
        return
    writes = bool(flags & _WRITING)
    if not is_direct and not writes and judge.is_quiet(path):
        return
    if path in ("/proc/self/environ", f"/proc/{os.getpid()}/environ"):
        yield Tried("guest", "environment", path, {"path": path}, True, "")
        return
    if path.startswith("/dev/") and writes and judge.is_own(path):
        return
    shown = mode if type(mode) is str else "w" if writes else "r"
    yield judge.file("write" if writes else "read", path, shown, writes=writes)


def _listed(judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    path = _path(arguments[0] if arguments[0] is not None else ".")
    if path is not None and (is_direct or not judge.is_quiet(path)):
        yield judge.file("list", path, "r", writes=False)


def _matched(judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    path = _path(arguments[0])
    if path is not None and is_direct:
        directory = path
        while any(sign in directory for sign in "*?["):
            directory = os.path.dirname(directory)
        found = judge.file("list", directory, "r", writes=False)
        yield found._replace(what=path[:NAME_CAP], arguments={"pattern": path[:NAME_CAP]})


def _changes(action: str, *places: int) -> Reader:
    """A reader of events whose arguments at `places` are paths that are changed."""

    def read(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
        for place in places:
            path = _path(arguments[place])
            if path is not None:
                yield judge.file(action, path, "w", writes=True)

    return read


def _database(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    path = arguments[0]
    if type(path) is str and path not in ("", ":memory:") and not path.startswith("file:"):
        yield judge.file("write", os.path.abspath(path), "r+", writes=True)


# ---- programs and signals -----------------------------------------------------------------------


def _program(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    executable, words = arguments[0], arguments[1] if len(arguments) > 1 else None
    given = list(words) if type(words) in (list, tuple) else [words or executable]  # type: ignore[call-overload]
    argv = [_plain(word) for word in given[:64]]
    name = _plain(executable) or (argv[0] if argv else "")
    rule = "" if _is_program(name) else "there is no such program"
    command = shlex.join(argv)[:WORDS_CAP]
    parts = {"program": name[:NAME_CAP], "command": command}
    yield Tried("guest", "program", command, parts, True, rule)


def _shell(_judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    command = _plain(arguments[0])[:WORDS_CAP]
    yield Tried("guest", "program", command, {"program": "sh", "command": command}, True, "")


def _forked(_judge: Judge, _arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    yield Tried("guest", "process", "a copy of the process", {}, True, "")


def _signalled(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    target, number = arguments[0], arguments[1]
    if type(target) is int and isinstance(number, int):
        import signal

        name = str(int(number))
        with suppress(ValueError):
            name = signal.Signals(number).name
        parts = {"target": str(target), "signal": name}
        layer, may, rule = judge.signal(target)
        yield Tried(layer, "signal", f"{name} to {target}", parts, may, rule)


def _is_program(name: str) -> bool:
    if "/" in name:
        return _access(name, os.X_OK)
    places = os.environ.get("PATH", "").split(":")
    return any(_access(os.path.join(place, name), os.X_OK) for place in places)


# ---- the network --------------------------------------------------------------------------------

FAMILIES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
FAMILIES |= {38: "AF_ALG", 40: "AF_VSOCK"}
TYPES = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET"}
USUAL_FAMILIES = (1, 2, 10)


def _socket(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    family, kind = arguments[1], arguments[2]
    if not isinstance(family, int) or not isinstance(kind, int):
        return
    if int(family) in USUAL_FAMILIES and int(kind) & 0xF in (1, 2) and judge.has_sockets:
        return
    parts = {
        "family": FAMILIES.get(int(family), str(int(family))),
        "type": TYPES.get(int(kind) & 0xF, str(int(kind))),
    }
    what = f"{parts['family']}, {parts['type']}"
    yield Tried("guest", "socket", what, parts, True, "")


def _connects(action: str) -> Reader:
    def read(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
        address = arguments[1]
        if type(address) is tuple and len(address) >= 2:
            yield judge.address(action, _plain(address[0]), _plain(address[1]))
        elif type(address) in (str, bytes):
            path = os.fsdecode(address)  # type: ignore[arg-type]
            yield Tried("guest", action, path[:NAME_CAP], {"path": path[:NAME_CAP]}, True, "")

    return read


def _http(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    yield judge.address("connect", _plain(arguments[1]), _plain(arguments[2]))


def _resolved(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    host = _plain(arguments[0])
    if host and not _is_number(host) and host != "localhost":
        yield judge.address("resolve", host, "")


def _requested(judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    url, data, method = _plain(arguments[0])[:WORDS_CAP], arguments[1], _plain(arguments[3])
    if url.startswith(("http:", "https:", "ftp:")):
        yield judge.url(url, method or ("POST" if data is not None else "GET"))


def _host_of(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
    return host or place, port or ("443" if scheme == "https" else "80")


def _is_number(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


# ---- code and internals -------------------------------------------------------------------------


def _code(action: str) -> Reader:
    def read(_judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
        if is_direct:
            source = arguments[0]
            words = source.co_name if hasattr(source, "co_name") else _plain(source)
            yield Tried("guest", "code", f"{action} of {words[:80]!r}", {}, True, "")

    return read


def _internal(what: str) -> Reader:
    def read(_judge: Judge, _arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
        if is_direct:
            yield Tried("guest", "internals", what, {}, True, "")

    return read


def _library(_judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    if is_direct or arguments[0] is None:
        name = _plain(arguments[0]) or "the program itself"
        yield Tried("guest", "native", f"library {name}"[:NAME_CAP], {"library": name}, True, "")


def _symbol(_judge: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    name = _plain(arguments[1])
    if name:
        yield Tried("guest", "native", f"function {name}"[:NAME_CAP], {"function": name}, True, "")


def _unpickled(_judge: Judge, arguments: tuple[object, ...], _is_direct: bool) -> Iterator[Tried]:
    module, name = _plain(arguments[0]), _plain(arguments[1])
    if module in ("os", "posix", "subprocess", "builtins", "sys", "pty") and name in RUNNERS:
        yield Tried("guest", "code", f"unpickled {module}.{name}", {}, True, "")


RUNNERS = ("system", "popen", "Popen", "call", "run", "check_output", "exec", "eval", "spawn")


def _set_attribute(_j: Judge, arguments: tuple[object, ...], is_direct: bool) -> Iterator[Tried]:
    if is_direct and arguments[1] == "__code__":
        yield Tried("guest", "internals", "the code of a function", {}, True, "")


# ---- plain values -------------------------------------------------------------------------------


def _path(value: object) -> str | None:
    """An absolute path; None for a descriptor or an object of the guest's own making."""
    if (
        isinstance(value, pathlib.PurePath)
        and type(value).__module__.partition(".")[0] == "pathlib"
    ):
        value = str(value)
    if type(value) is bytes:
        value = os.fsdecode(value)
    return os.path.abspath(value)[:NAME_CAP] if type(value) is str else None


def _plain(value: object) -> str:
    """`value` as text if it is of a plain type; empty if not."""
    if type(value) is bytes:
        return value[:WORDS_CAP].decode("utf-8", "backslashreplace")
    if type(value) in (str, int):
        return str(value)[:WORDS_CAP]
    if isinstance(value, pathlib.PurePath):
        return _path(value) or ""
    return ""


READERS: dict[str, Reader] = {
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "glob.glob": _matched,
    "os.remove": _changes("remove", 0),
    "os.rmdir": _changes("remove", 0),
    "shutil.rmtree": _changes("remove", 0),
    "os.mkdir": _changes("make", 0),
    "os.rename": _changes("rename", 0, 1),
    "os.truncate": _changes("write", 0),
    "os.chmod": _changes("mode", 0),
    "os.chown": _changes("mode", 0),
    "os.symlink": _changes("link", 1),
    "os.link": _changes("link", 1),
    "sqlite3.connect": _database,
    "subprocess.Popen": _program,
    "os.exec": _program,
    "os.posix_spawn": _program,
    "pty.spawn": _program,
    "os.system": _shell,
    "os.fork": _forked,
    "os.forkpty": _forked,
    "os.kill": _signalled,
    "os.killpg": _signalled,
    "socket.__new__": _socket,
    "socket.connect": _connects("connect"),
    "socket.bind": _connects("bind"),
    "socket.sendto": _connects("send"),
    "socket.getaddrinfo": _resolved,
    "socket.gethostbyname": _resolved,
    "http.client.connect": _http,
    "urllib.Request": _requested,
    "ctypes.dlopen": _library,
    "ctypes.dlsym": _symbol,
    "exec": _code("exec"),
    "compile": _code("compile"),
    "pickle.find_class": _unpickled,
    "sys.addaudithook": _internal("an audit hook"),
    "sys.settrace": _internal("a tracer"),
    "sys.setprofile": _internal("a profiler"),
    "sys._current_frames": _internal("the frames of all threads"),
    "gc.get_objects": _internal("all objects"),
    "gc.get_referrers": _internal("what refers to an object"),
    "gc.get_referents": _internal("what an object refers to"),
    "code.__new__": _internal("byte code by hand"),
    "object.__setattr__": _set_attribute,
    "ctypes.string_at": _internal("memory by address"),
    "ctypes.cdata": _internal("memory by address"),
}
