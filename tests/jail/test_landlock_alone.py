"""Landlock on the real kernel, with no other layer on, as each version of it that is here."""

import errno
import fcntl
import os
import signal
import socket
import stat
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox.guest.jail import landlock
from sandbox.guest.jail.landlock import PathRule
from sandbox.protocol.plan import Tier
from tests.jail.forked import Report, errno_of, run

HERE = landlock.abi()
SIGNAL_SCOPE_SINCE = 6
TCP_SINCE = 4
DEVICE_IOCTL_SINCE = 5
TRUNCATE_SINCE = 3
REFER_SINCE = 2

each_version = pytest.mark.parametrize("version", range(1, max(HERE, 1) + 1))


class Places(NamedTuple):
    workspace: Path
    library: Path
    outside: Path

    def rules(self) -> list[PathRule]:
        return [PathRule(str(self.workspace), "rw"), PathRule(str(self.library), "ro")]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A workspace to write, a library to read, and what must stay out of reach."""
    made = Places(tmp_path / "workspace", tmp_path / "library", tmp_path / "outside")
    for place in made:
        place.mkdir()
        (place / "file").write_text(place.name)
        (place / "spare").write_text("")
        (place / "below").mkdir()
    return made


def confined(
    places: Places,
    body: Callable[[], Report],
    *,
    tier: Tier = "namespaces",
    version: int | None = None,
) -> Report:
    """What `body` returns in a child that may write the workspace and read the library."""

    def restricted() -> Report:
        landlock.restrict(places.rules(), tier=tier, version=version)
        return body()

    return run(restricted).said


def all_but(number: int, said: Report) -> dict[str, int]:
    """The attempts that ended in another way than with the errno `number`."""
    assert isinstance(said, dict)
    return {name: ended for name, ended in said.items() if ended != number}


def test_this_kernel_has_landlock() -> None:
    assert HERE >= 1


def trespass(places: Places) -> dict[str, int]:
    """What can be done outside; in this order all of it succeeds for a process that is free."""
    outside = places.outside
    return {
        "read": errno_of(os.open, outside / "file", os.O_RDONLY),
        "write": errno_of(os.open, outside / "file", os.O_WRONLY),
        "list": errno_of(os.listdir, outside),
        "make": errno_of(os.open, outside / "new", os.O_CREAT | os.O_WRONLY),
        "mkdir": errno_of(os.mkdir, outside / "directory"),
        "symlink": errno_of(os.symlink, "file", outside / "link"),
        "fifo": errno_of(os.mkfifo, outside / "fifo"),
        "rename": errno_of(os.rename, outside / "file", outside / "renamed"),
        "unlink": errno_of(os.unlink, outside / "spare"),
        "rmdir": errno_of(os.rmdir, outside / "below"),
        "list the parent": errno_of(os.listdir, outside.parent),
        "leave by ..": errno_of(os.listdir, places.workspace / ".." / "outside"),
        "read /etc/passwd": errno_of(os.open, "/etc/passwd", os.O_RDONLY),
        "list /proc": errno_of(os.listdir, "/proc"),
    }


def test_a_free_process_does_all_that_is_tried_outside(places: Places) -> None:
    assert all_but(0, run(lambda: trespass(places)).said) == {}


@each_version
def test_outside_nothing_is_read_made_moved_or_removed(places: Places, version: int) -> None:
    said = confined(places, lambda: trespass(places), version=version)
    assert all_but(errno.EACCES, said) == {}
    assert (places.outside / "file").read_text() == "outside"
    assert sorted(os.listdir(places.outside)) == ["below", "file", "spare"]


@each_version
def test_a_library_is_read_and_never_written(places: Places, version: int) -> None:
    library = places.library

    def attempts() -> dict[str, int]:
        return {
            "read": errno_of((library / "file").read_text),
            "list": errno_of(os.listdir, library),
            "write": errno_of(os.open, library / "file", os.O_WRONLY),
            "make": errno_of(os.open, library / "new", os.O_CREAT | os.O_WRONLY),
            "unlink": errno_of(os.unlink, library / "file"),
            "rmdir": errno_of(os.rmdir, library / "below"),
        }

    assert confined(places, attempts, version=version) == {
        "read": 0,
        "list": 0,
        **dict.fromkeys(("write", "make", "unlink", "rmdir"), errno.EACCES),
    }


@pytest.mark.parametrize("version", range(TRUNCATE_SINCE, max(HERE, TRUNCATE_SINCE) + 1))
def test_a_file_that_cannot_be_written_cannot_be_emptied(places: Places, version: int) -> None:
    def attempts() -> list[int]:
        return [
            *[errno_of(os.truncate, place / "file", 0) for place in places],
            errno_of(os.open, places.library / "file", os.O_RDONLY | os.O_TRUNC),
            errno_of(os.open, places.library / "file", 3 | os.O_TRUNC),
        ]

    assert confined(places, attempts, version=version) == [0, *[errno.EACCES] * 4]
    assert [(place / "file").read_text() for place in places] == ["", "library", "outside"]


@each_version
def test_the_workspace_is_the_snippets_own(places: Places, version: int) -> None:
    workspace = places.workspace

    def work() -> dict[str, int]:
        listener = socket.socket(socket.AF_UNIX)
        return {
            "write": errno_of((workspace / "new").write_text, "made"),
            "mkdir": errno_of((workspace / "directory").mkdir),
            "symlink": errno_of(os.symlink, "new", workspace / "link"),
            "hard link": errno_of(os.link, workspace / "new", workspace / "second"),
            "fifo": errno_of(os.mkfifo, workspace / "fifo"),
            "socket": errno_of(listener.bind, os.fspath(workspace / "socket")),
            "rename": errno_of(os.rename, workspace / "new", workspace / "renamed"),
            "truncate": errno_of(os.truncate, workspace / "renamed", 1),
            "unlink": errno_of(os.unlink, workspace / "second"),
            "rmdir": errno_of(os.rmdir, workspace / "below"),
        }

    assert all_but(0, confined(places, work, version=version)) == {}
    assert (workspace / "renamed").read_text() == "m"


@each_version
def test_files_move_inside_the_workspace_and_not_in_or_out(places: Places, version: int) -> None:
    inside, outside = places.workspace, places.outside

    def attempts() -> dict[str, int]:
        return {
            "in": errno_of(os.rename, outside / "file", inside / "taken"),
            "link in": errno_of(os.link, outside / "file", inside / "taken"),
            "link a library in": errno_of(os.link, places.library / "file", inside / "taken"),
            "out": errno_of(os.rename, inside / "file", outside / "leaked"),
            "below": errno_of(os.rename, inside / "file", inside / "below" / "file"),
        }

    said = confined(places, attempts, version=version)
    assert isinstance(said, dict)
    assert said.pop("below") == (0 if version >= REFER_SINCE else errno.EXDEV)
    assert set(said.values()) <= {errno.EACCES, errno.EXDEV}
    assert sorted(os.listdir(outside)) == ["below", "file", "spare"]


def test_no_device_is_made_in_the_workspace(places: Places) -> None:
    def make_devices() -> list[int]:
        return [
            errno_of(os.mknod, places.workspace / "device", kind | 0o600, os.makedev(1, 3))
            for kind in (stat.S_IFCHR, stat.S_IFBLK)
        ]

    # Landlock is asked before the right to make devices is looked for.
    assert confined(places, make_devices) == [errno.EACCES, errno.EACCES]


@each_version
def test_a_rule_for_one_file_opens_that_file_alone(places: Places, version: int) -> None:
    def use_devices() -> list[int]:
        landlock.restrict([PathRule("/dev/null", "rw")], tier="namespaces", version=version)
        null = os.open("/dev/null", os.O_RDWR)
        return [
            os.write(null, b"gone"),
            errno_of(fcntl.ioctl, null, termios.TCGETS, bytes(64)),
            errno_of(os.open, "/dev/zero", os.O_RDONLY),
        ]

    ioctl = errno.EACCES if version >= DEVICE_IOCTL_SINCE else errno.ENOTTY
    assert run(use_devices).said == [4, ioctl, errno.EACCES]


@each_version
def test_a_signal_stays_among_the_confined(places: Places, version: int) -> None:
    def send() -> list[int]:
        child = os.fork()
        if child == 0:
            signal.pause()
        to_child = errno_of(os.kill, child, signal.SIGKILL)
        ended_by = os.WTERMSIG(os.waitpid(child, 0)[1])
        return [errno_of(os.kill, os.getppid(), 0), to_child, ended_by]

    to_parent = errno.EPERM if version >= SIGNAL_SCOPE_SINCE else 0
    assert confined(places, send, version=version) == [to_parent, 0, signal.SIGKILL]


@pytest.fixture
def abstract_name() -> Iterator[str]:
    """The name of an abstract socket of this process that takes connections."""
    name = f"\0landlock-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        yield name


@each_version
def test_an_abstract_socket_of_another_domain_is_out_of_reach(
    places: Places, version: int, abstract_name: str
) -> None:
    def connect() -> list[int]:
        own = socket.socket(socket.AF_UNIX)
        own.bind(abstract_name + "-own")
        own.listen()
        return [
            errno_of(socket.socket(socket.AF_UNIX).connect, name)
            for name in (abstract_name, abstract_name + "-own")
        ]

    to_parent = errno.EPERM if version >= SIGNAL_SCOPE_SINCE else 0
    assert confined(places, connect, version=version) == [to_parent, 0]


@pytest.fixture
def tcp_port() -> Iterator[int]:
    """A port of this host on which this process takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@each_version
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_tcp_is_refused_where_the_network_is_the_hosts(
    places: Places, version: int, tier: Tier, tcp_port: int
) -> None:
    def use_tcp() -> list[int]:
        return [
            errno_of(socket.socket().connect, ("127.0.0.1", tcp_port)),
            errno_of(socket.socket().bind, ("127.0.0.1", 0)),
        ]

    refused = tier == "landlock" and version >= TCP_SINCE
    assert (
        confined(places, use_tcp, tier=tier, version=version)
        == [errno.EACCES if refused else 0] * 2
    )


def test_children_are_confined_too_and_a_wider_ruleset_opens_nothing(places: Places) -> None:
    secret = places.outside / "file"

    def widen() -> list[int]:
        landlock.restrict([PathRule("/", "rw")], tier="namespaces")
        child = os.fork()
        if child == 0:
            os._exit(errno_of(os.open, secret, os.O_RDONLY))
        in_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return [errno_of(os.open, secret, os.O_RDONLY), in_child]

    assert confined(places, widen) == [errno.EACCES, errno.EACCES]


def test_what_was_open_before_stays_open(places: Places) -> None:
    def read_on() -> str:
        fd = os.open(places.outside / "file", os.O_RDONLY)
        landlock.restrict(places.rules(), tier="namespaces")
        return os.read(fd, 100).decode()

    assert run(read_on).said == "outside"


def test_one_prepared_ruleset_serves_sessions_that_cannot_reach_each_other(
    places: Places,
) -> None:
    fds = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (places.library, "/dev/null")]
    ruleset = landlock.prepare([(fds[0], "ro"), (fds[1], "rw")], tier="namespaces")

    def session(own: Path, other: Path) -> list[int]:
        ruleset.restrict([PathRule(os.fspath(own), "rw")])
        return [
            errno_of((own / "mine").write_text, "mine"),
            errno_of((places.library / "file").read_text),
            errno_of(os.open, "/dev/null", os.O_WRONLY),
            errno_of(os.listdir, other),
        ]

    pair = (places.workspace, places.outside)
    try:
        answers = [run(lambda: session(*pair)).said, run(lambda: session(*pair[::-1])).said]
    finally:
        for fd in fds:
            os.close(fd)
    assert answers == [[0, 0, 0, errno.EACCES]] * 2


def test_a_rule_is_bound_to_what_its_path_meant_when_it_was_opened(places: Places) -> None:
    def swap_the_directory() -> list[int]:
        fd = os.open(places.workspace, os.O_PATH)
        os.rename(places.workspace, places.outside / "moved")
        os.symlink(places.outside, places.workspace)
        landlock.restrict([PathRule(fd, "rw")], tier="namespaces")
        return [
            errno_of(os.listdir, places.outside / "moved"),
            errno_of(os.listdir, places.workspace),
        ]

    assert run(swap_the_directory).said == [0, errno.EACCES]


def test_a_missing_path_is_named_and_nothing_is_confined(places: Places) -> None:
    def restrict_to_nothing() -> list[str]:
        missing = PathRule("/nowhere/at/all", "ro")
        with pytest.raises(FileNotFoundError) as caught:
            landlock.restrict([missing], tier="namespaces")
        return [str(caught.value), (places.outside / "file").read_text()]

    assert run(restrict_to_nothing).said == [
        "[Errno 2] No such file or directory (rule for '/nowhere/at/all')",
        "outside",
    ]


def test_a_closed_descriptor_names_the_step(places: Places) -> None:
    def restrict_to_a_closed_one() -> str:
        with pytest.raises(OSError, match="rule for 999") as caught:
            landlock.restrict([PathRule(999, "ro")], tier="namespaces")
        return errno.errorcode[caught.value.errno or 0]

    assert run(restrict_to_a_closed_one).said == "EBADF"


def test_the_descriptors_of_a_ruleset_do_not_stay_open(places: Places) -> None:
    def count() -> int:
        before = len(os.listdir("/proc/self/fd"))
        with_listing = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        rules = [*places.rules(), PathRule("/proc", "ro")]
        landlock.restrict(rules, tier="namespaces")
        return len(os.listdir(with_listing)) - before

    assert run(count).said == 1


@pytest.mark.parametrize("first_thread", ["caller", "other"])
def test_threads_are_confined_with_their_process_since_version_8(
    places: Places, first_thread: str
) -> None:
    def restrict_one_thread() -> int:
        restricted = threading.Event()
        answers: list[int] = []

        def other() -> None:
            restricted.wait()
            answers.append(errno_of(os.listdir, places.outside))

        thread = threading.Thread(target=other)
        thread.start()
        landlock.restrict(places.rules(), tier="namespaces")
        restricted.set()
        thread.join()
        in_caller = errno_of(os.listdir, places.outside)
        return in_caller if first_thread == "caller" else answers[0]

    wanted = errno.EACCES if first_thread == "caller" or HERE >= 8 else 0
    assert run(restrict_one_thread).said == wanted
