"""What attacks are after: things of the host that a test can see touched.

A bait directory with files that anyone may read, write or run; servers on loopback, on an
abstract name and on a socket file, which hand their secret to any process that asks; the
environment of this process; and a victim, a process with the secret in its memory, environment
and descriptors that counts the signals it gets. The secret is drawn anew for each bait.
"""

import json
import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sandbox.processes.directories import OwnDirectory

CONTROL_ID = 65_000 + os.getpid() % 500
"""Who runs the victim and the bare controls, when the tests are run by root; other test processes
have another: a bare attack may reach all that belongs to its user."""
PREFIXES = ("cellblock-bait-", "cellblock-bare-")
VARIABLE = "CELLBLOCK_CANARY"

BECOME_ORDINARY = """
def become_ordinary(number):
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)
"""
VICTIM = (
    BECOME_ORDINARY
    + """
import ctypes, json, os, resource, signal, sys

secret = os.environ["CELLBLOCK_CANARY"].encode()
become_ordinary(int(sys.argv[1]))
libc = ctypes.CDLL(None)
PR_SET_DUMPABLE, PR_SET_PTRACER = 4, 0x59616D61
libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
space = ctypes.create_string_buffer(secret, 128)
fd = os.memfd_create("canary")
os.write(fd, secret)
got = []
for number in (signal.SIGUSR1, signal.SIGWINCH, signal.SIGCONT):
    signal.signal(number, lambda number, frame: got.append(number))
print(json.dumps({"address": ctypes.addressof(space), "fd": fd}), flush=True)
for line in sys.stdin:
    state = {
        "signals": got,
        "is_intact": space.value == secret,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "processors": sorted(os.sched_getaffinity(0)),
    }
    print(json.dumps(state), flush=True)
"""
)
BARE = (
    BECOME_ORDINARY
    + """
import ast, importlib, json, os, resource, sys

order = json.load(sys.stdin)
# The interpreter's own files may be out of reach for an ordinary user.
for node in ast.walk(ast.parse(order["source"])):
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module] if isinstance(node, ast.ImportFrom) else []
    for name in names:
        importlib.import_module(name)
for codec in ("idna", "latin-1"):
    "".encode(codec)
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
resource.setrlimit(resource.RLIMIT_NPROC, (200, 200))
become_ordinary(order["number"])
os.chdir(order["directory"])
exec(compile(order["source"], "<attack>", "exec"), {"__name__": "__main__"})
"""
)


class Bait:
    """A context manager; in it, `constants` are what attacks may name."""

    def __enter__(self) -> Self:
        self.secret = f"canary:{secrets.token_hex(16)}"
        self._directories = [OwnDirectory(prefix, "/tmp") for prefix in PREFIXES]
        self.root, self._scratch = (Path(own.path) for own in self._directories)
        self.root.chmod(0o755)
        self._open = self.root / "open"
        self._scratch.chmod(0o777)
        self._lay_out()
        self._servers = _Servers(self.secret, str(self.root / "socket"))
        os.environ[VARIABLE] = self.secret
        self.victim = Victim(self.root)
        self.constants: Mapping[str, object] = {
            "CANARY_FILE": str(self.root / "canary.txt"),
            "WRITABLE_FILE": str(self._open / "writable.txt"),
            "HOST_DIRECTORY": str(self._open),
            "HOST_PROGRAM": str(self.root / "program"),
            "SOCKET_FILE": str(self.root / "socket"),
            "ABSTRACT_NAME": self._servers.abstract_name,
            "TCP_PORT": self._servers.tcp_port,
            "UDP_PORT": self._servers.udp_port,
            "VICTIM_PID": self.victim.pid,
            "VICTIM_ADDRESS": self.victim.address,
            "VICTIM_FD": self.victim.fd,
        }
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.environ.pop(VARIABLE, None)
        self.victim.close()
        self._servers.close()
        for own in self._directories:
            own.remove()

    def state(self) -> object:
        """All that an attack could have changed, to be compared with what it was before."""
        files = {
            str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_nlink)
            for path in [self.root, *sorted(self.root.rglob("*"))]
        }
        return files, self._servers.visits, self.victim.state()

    def run_bare(self, source: str) -> str:
        """What `source` prints as an ordinary user without a jail."""
        order = {"source": source, "number": CONTROL_ID, "directory": str(self._scratch)}
        ended = subprocess.run(
            [sys.executable, "-I", "-c", BARE],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=30,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        return ended.stdout + ended.stderr

    def _lay_out(self) -> None:
        (self.root / "canary.txt").write_text(f"{self.secret}\n")
        (self.root / "canary.txt").chmod(0o644)
        (self.root / "program").write_text(f"#!/bin/sh\necho {self.secret}\n")
        (self.root / "program").chmod(0o755)
        self._open.mkdir()
        self._open.chmod(0o777)
        (self._open / "writable.txt").write_text(f"{self.secret}\n")
        (self._open / "writable.txt").chmod(0o666)


class Victim:
    """A process of the host that is worth an attack."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", VICTIM, str(CONTROL_ID)],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = json.loads(self._output.readline())
        self.pid = self._process.pid
        self.address: int = first["address"]
        self.fd: int = first["fd"]

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def state(self) -> object:
        """Signals, priority, limits and memory as the victim sees them."""
        assert self._process.stdin is not None
        self._process.stdin.write("state\n")
        self._process.stdin.flush()
        return json.loads(self._output.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Servers:
    """Sockets that give the secret to everyone, served by one thread; visits are counted."""

    def __init__(self, secret: str, path: str) -> None:
        self.visits = 0
        self._secret = secret.encode()
        self._selector = selectors.DefaultSelector()
        self._stop_read, self._stop_write = socket.socketpair()
        self._selector.register(self._stop_read, selectors.EVENT_READ)
        self.abstract_name = f"\0bait-{secrets.token_hex(4)}"
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        abstract, named = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        abstract.bind(self.abstract_name)
        named.bind(path)
        os.chmod(path, 0o777)
        for server in (abstract, named):
            server.listen()
        self._udp = udp
        self._sockets = [tcp, udp, abstract, named]
        self.tcp_port: int = tcp.getsockname()[1]
        self.udp_port: int = udp.getsockname()[1]
        for server in self._sockets:
            self._selector.register(server, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.fileobj is self._stop_read:
                    return
                self.visits += 1
                if key.fileobj is self._udp:
                    _data, sender = self._udp.recvfrom(1000)
                    self._udp.sendto(self._secret, sender)
                    continue
                assert isinstance(key.fileobj, socket.socket)
                visitor, _address = key.fileobj.accept()
                with visitor:
                    visitor.sendall(self._secret)

    def close(self) -> None:
        self._stop_write.send(b"x")
        self._thread.join()
        for server in (*self._sockets, self._stop_read, self._stop_write):
            server.close()
        self._selector.close()
