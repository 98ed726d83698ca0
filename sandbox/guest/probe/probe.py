"""Tries each layer for real in a throwaway child, prints one JSON line.

Started by `sandbox/doctor/features.py` as `python -I -S -B -c BOOTSTRAP`. Every row of `TRIES` runs
in a fork of its own (`trial.py`), does there what a zygote or a session would do, and then checks
the effect. It answers that the layer holds and what was seen, or which call was refused and
with what error. Nothing is concluded from a version number.
"""

import json
import mmap
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import NamedTuple

from sandbox.guest.jail import landlock, seccomp
from sandbox.guest.jail.callrules import rules_for
from sandbox.guest.kernel import sysapi
from sandbox.guest.probe.probe_cgroup import Parents, choose, try_cgroup
from sandbox.guest.probe.probe_namespaces import (
    try_cgroup_namespace,
    try_ipc_namespace,
    try_mount_namespace,
    try_net_namespace,
    try_pid_namespace,
    try_user_namespace,
    try_uts_namespace,
)
from sandbox.guest.probe.trial import (
    LIBRARY,
    Answer,
    Refused,
    Trial,
    attempt,
    calling,
    error_of,
    expect,
    name_of,
    spare_ids,
)

CAP_CHOWN = 0
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_VERSION = 1
"""Flag that makes landlock_create_ruleset(2) answer its ABI."""


def try_rlimits(_trial: Trial) -> str:
    """Descriptors, file size and private memory stop at a limit."""
    null = os.open("/dev/null", os.O_RDONLY)
    with calling("setrlimit(RLIMIT_NOFILE)"):
        _lower(resource.RLIMIT_NOFILE, 16)
    error = _open_many(null, 16)
    expect(error == "EMFILE", "setrlimit(RLIMIT_NOFILE)", f"one descriptor more gave {error}")
    memory = os.memfd_create("cellblock")
    with calling("setrlimit(RLIMIT_FSIZE)"):
        _lower(resource.RLIMIT_FSIZE, 4096)
    error = error_of(lambda: os.pwrite(memory, b"x", 4096))
    expect(error == "EFBIG", "setrlimit(RLIMIT_FSIZE)", f"one byte more gave {error}")
    with calling("setrlimit(RLIMIT_DATA)"):
        _lower(resource.RLIMIT_DATA, 1 << 30)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    error = error_of(lambda: mmap.mmap(-1, (1 << 30) + 4096, flags=private))
    expect(error == "ENOMEM", "setrlimit(RLIMIT_DATA)", f"a larger mapping gave {error}")
    return "EMFILE, EFBIG and ENOMEM at the limits"


def _open_many(fd: int, count: int) -> str:
    """Name of the errno that stops `count` duplicates of `fd`; none of them stays open."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.dup(fd))
    except OSError as error:
        return name_of(error.errno)
    finally:
        for duplicate in opened:
            os.close(duplicate)
    return "no error"


def _lower(which: int, value: int) -> None:
    _soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))


def try_capabilities(_trial: Trial) -> str:
    """Every capability is given up and none can be taken back."""
    with calling("capset"):
        sysapi.drop_capabilities()
    expect(sysapi.holds_no_capability(), "capset", "some are still held")
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    one = 1 << CAP_CHOWN
    regained = struct.pack("6I", one, one, 0, 0, 0, 0)
    error = error_of(lambda: sysapi.syscall("capset", header, regained))
    expect(error == "EPERM", "capset", f"taking one back gave {error}")
    return "all dropped; taking one back gave EPERM"


def try_no_new_privs(_trial: Trial) -> str:
    """The flag is set and cannot be unset."""
    with calling("prctl(PR_SET_NO_NEW_PRIVS)"):
        sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 1)
    error = error_of(lambda: sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 0))
    is_set = sysapi.prctl(sysapi.PR_GET_NO_NEW_PRIVS) == 1
    expect(is_set and error == "EINVAL", "prctl(PR_SET_NO_NEW_PRIVS)", "it does not stay set")
    return "set for good"


def try_not_dumpable(_trial: Trial) -> str:
    """No process without privilege may trace this one or open its memory."""
    with calling("prctl(PR_SET_DUMPABLE)"):
        sysapi.prctl(sysapi.PR_SET_DUMPABLE, 0)
    expect(sysapi.prctl(sysapi.PR_GET_DUMPABLE) == 0, "prctl(PR_SET_DUMPABLE)", "it reads 1")
    if not sysapi.holds_no_capability():
        return "the flag is off"
    error = error_of(lambda: os.open("/proc/self/mem", os.O_RDONLY))
    expect(error == "EACCES", "prctl(PR_SET_DUMPABLE)", f"opening the own memory gave {error}")
    return "opening the own memory gave EACCES"


class _Refuser(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        raise ImportError(f"{fullname} is refused")


def try_import_policy(_trial: Trial) -> str:
    """A finder in front of all others can refuse an import."""
    sys.meta_path.insert(0, _Refuser())
    try:
        __import__("this")
    except ImportError:
        return "a finder refused an import"
    raise Refused("sys.meta_path", "", "an import went past the first finder")


def try_landlock(_trial: Trial) -> str:
    """A session's rules: reading stops at the paths that are ruled in."""
    abi = _landlock_abi()
    with calling("landlock_restrict_self"):
        landlock.restrict([landlock.PathRule(LIBRARY, "ro")], tier="namespaces")
    with calling("open below an allowed path"):
        os.close(os.open(os.__file__, os.O_RDONLY))
    error = error_of(lambda: os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    expect(error == "EACCES", "landlock_restrict_self", f"opening another path gave {error}")
    return f"ABI {abi}; opening a path without a rule gave EACCES"


def _landlock_abi() -> int:
    with calling("landlock_create_ruleset"):
        return sysapi.syscall("landlock_create_ruleset", None, 0, LANDLOCK_VERSION)


def try_landlock_scopes(_trial: Trial) -> str:
    """Signals and abstract sockets stop at the processes of the same domain."""
    _landlock_abi()
    scopes = landlock.SCOPE_ABSTRACT_UNIX_SOCKET | landlock.SCOPE_SIGNAL
    attribute = landlock.Handled(0, 0, scopes).encode()
    with calling("landlock_create_ruleset(scoped)"):
        ruleset = sysapi.syscall("landlock_create_ruleset", attribute, len(attribute), 0)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("")  # The kernel picks a free abstract name: unix(7), "Autobind feature".
        server.listen(1)
        sysapi.prctl(sysapi.PR_SET_NO_NEW_PRIVS, 1)
        with calling("landlock_restrict_self"):
            sysapi.syscall("landlock_restrict_self", ruleset, 0)
        error = error_of(lambda: client.connect(server.getsockname()))
    expect(error == "EPERM", "landlock_restrict_self", f"an older abstract socket gave {error}")
    error = error_of(lambda: os.kill(os.getppid(), 0))
    expect(error == "EPERM", "landlock_restrict_self", f"a signal to the outside gave {error}")
    return "a signal and an abstract socket to the outside gave EPERM"


def try_seccomp(_trial: Trial) -> str:
    """The filter of a full session: it refuses what it must and lets this process go on."""
    program = seccomp.compile_filter(rules_for("namespaces"), sysapi.ARCH)
    with calling("seccomp"):
        seccomp.install(program)
    # Both calls would succeed without a filter, or fail with another error.
    error = error_of(lambda: sysapi.unshare(0))
    expect(error == "EPERM", "seccomp", f"unshare gave {error}")
    error = error_of(lambda: sysapi.syscall("personality", 0))
    expect(error == "EPERM", "seccomp", f"personality gave {error}")
    return "the session's filter; unshare and personality gave EPERM"


class Row(NamedTuple):
    layer: str
    tried: Callable[[Trial], str]


TRIES = (
    Row("user_namespace", try_user_namespace),
    Row("mount_namespace", try_mount_namespace),
    Row("pid_namespace", try_pid_namespace),
    Row("net_namespace", try_net_namespace),
    Row("ipc_namespace", try_ipc_namespace),
    Row("uts_namespace", try_uts_namespace),
    Row("cgroup_namespace", try_cgroup_namespace),
    Row("rlimits", try_rlimits),
    Row("capabilities", try_capabilities),
    Row("no_new_privs", try_no_new_privs),
    Row("not_dumpable", try_not_dumpable),
    Row("landlock", try_landlock),
    Row("seccomp", try_seccomp),
    Row("import_policy", try_import_policy),
    Row("landlock_scopes", try_landlock_scopes),
    Row("cgroup", try_cgroup),
)
CONTAINERS = (  # a path that one kind of container alone has, and its name
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
    ("/run/systemd/container", "systemd-nspawn"),
)


def main() -> None:
    """Try every layer, one after the other, and print what was found."""
    answers = {row.layer: attempt(row.tried) for row in TRIES}
    tries = {layer: answer.__dict__ for layer, answer in answers.items()}
    print(json.dumps({"tries": tries, "facts": facts(answers)}))


def facts(answers: dict[str, Answer]) -> dict[str, object]:
    """What else decides about a remedy, or is worth telling."""
    parents = choose() if answers["cgroup"].holds else Parents(0, {})
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "interpreter": os.path.realpath(sys.executable),
        "uid": os.geteuid(),
        "landlock_abi": _landlock_abi() if answers["landlock"].holds else 0,
        "cgroup_version": parents.version,
        "cgroup_parents": list(parents.directories.items()),
        "host_id_base": _spare_base(),
        "container": next((name for path, name in CONTAINERS if os.path.exists(path)), ""),
        "inherited_filter": _has_filter(),
        "unprivileged_userns_clone": _setting("kernel/unprivileged_userns_clone"),
        "max_user_namespaces": _setting("user/max_user_namespaces"),
        "apparmor_restricts_userns": _setting("kernel/apparmor_restrict_unprivileged_userns"),
    }


def _spare_base() -> int | None:
    """First of the host ids that sessions can be given; None if they share the caller's."""
    with open("/proc/self/uid_map") as stream:
        first = spare_ids(stream.read())
    if first is None:
        return None
    ids = (first, first, first)

    def take(_trial: Trial) -> str:
        with calling("setresuid"):
            os.setgroups([])
            os.setresgid(*ids)
            os.setresuid(*ids)
        return "taken"

    return first if attempt(take).holds else None


def _has_filter() -> bool:
    try:
        return sysapi.prctl(sysapi.PR_GET_SECCOMP) != 0
    except OSError:
        # EINVAL: this kernel was built without seccomp.
        return False


def _setting(name: str) -> int | None:
    """A kernel setting; None where there is none of that name, or it cannot be read."""
    try:
        with open(f"/proc/sys/{name}") as stream:
            return int(stream.read())
    except OSError:
        return None
