"""Each layer stops its attack with no other layer on, and without it the same attack goes through.

A plan is made by hand with one layer and what that one cannot do without: Landlock and seccomp need
no_new_privs, and in the full tier a session needs a mount namespace for its own directories. Under
the plan of the control the layer alone is missing.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox import ImportPolicy, Limits, Policy, Sandbox
from sandbox.policy.environment import Environment
from sandbox.policy.lowering import lower
from sandbox.processes import cgroup, supply
from sandbox.protocol.plan import LAYERS, ImportRule, JailPlan, Tier

ATTEMPT = """
import ctypes, errno, os, socket, struct, time

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0: raise OSError(ctypes.get_errno(), name)
    return result

def attempt(action):
    try: return action() or "done"
    except OSError as error: return errno.errorcode[error.errno]
    except ImportError: return "ImportError"

def raise_capabilities():
    header = struct.pack("Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    call("syscall", 125, header, data)
    permitted = struct.unpack("6I", data.raw)[1::3]
    call("syscall", 126, header, struct.pack("6I", *(
        word for bits in permitted for word in (bits, bits, 0))))

def rename_host():
    raise_capabilities()
    call("sethostname", b"renamed", 7)
    return os.uname().nodename

def read_memory_of_child():
    child = os.fork()
    if child == 0:
        time.sleep(60)
    try: open(f"/proc/{child}/mem", "rb").close()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)

def open_many():
    return str(len([os.open("/dev/null", 0) for _ in range(150)]))

def euid_of_set_uid_program():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(reader, 0)
        os.execv("/bin/su", ["su"])
    while open(f"/proc/{child}/comm").read() != "su\\n": time.sleep(0.001)
    time.sleep(0.02)
    fields = [line.split() for line in open(f"/proc/{child}/status")]
    os.kill(child, 9) if attempt(lambda: os.kill(child, 0)) == "done" else os.close(writer)
    return next(row[2] for row in fields if row[0] == "Uid:")

def read(path):
    return open(path).read()

def names_of_processes():
    return [attempt(lambda: read(f"/proc/{name}/comm")) for name in os.listdir("/proc")
            if name.isdigit()]
"""
LISTEN = (
    "server = socket.socket(socket.AF_UNIX)\nserver.bind('\\0cellblock-alone')\nserver.listen()"
)
CONNECT = "attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0cellblock-alone'))"
MAKE_SEGMENT = "call('shmget', 0x4242, 4096, 0o1666)"
FIND_SEGMENT = "attempt(lambda: str(call('shmget', 0x4242, 4096, 0) >= 0))"
TAKE_NAME = "call('prctl', 15, b'cellblock-alone')"


class Alone(NamedTuple):
    """A layer, what it cannot do without, and what of an attack is seen with it and without."""

    layer: str
    tier: Tier
    needs: tuple[str, ...]
    attack: str
    stopped: str
    succeeds: str
    before: str = "1"
    """What a neighbour session does first."""


CASES = (
    Alone(
        "user_namespace",
        "namespaces",
        ("mount_namespace",),
        "attempt(rename_host)",
        "'EPERM'",
        "'renamed'",
    ),
    Alone(
        "pid_namespace",
        "namespaces",
        ("mount_namespace",),
        "'cellblock-alone\\n' in names_of_processes()",
        "False",
        "True",
        TAKE_NAME,
    ),
    Alone(
        "net_namespace",
        "namespaces",
        ("mount_namespace",),
        CONNECT,
        "'ECONNREFUSED'",
        "'done'",
        LISTEN,
    ),
    Alone(
        "ipc_namespace",
        "namespaces",
        ("mount_namespace",),
        FIND_SEGMENT,
        "'ENOENT'",
        "'True'",
        MAKE_SEGMENT,
    ),
    Alone(
        "uts_namespace",
        "namespaces",
        ("mount_namespace",),
        "os.uname().nodename",
        "'cellblock'",
        "'renamed'",
        "attempt(rename_host)",
    ),
    Alone("rlimits", "process", (), "attempt(open_many)", "'EMFILE'", "'150'"),
    Alone(
        "capabilities",
        "namespaces",
        ("mount_namespace",),
        "attempt(rename_host)",
        "'EPERM'",
        "'renamed'",
    ),
    Alone(
        "not_dumpable",
        "namespaces",
        ("user_namespace", "mount_namespace"),
        "attempt(read_memory_of_child)",
        "'EACCES'",
        "'done'",
    ),
    Alone(
        "landlock",
        "landlock",
        ("no_new_privs",),
        "attempt(lambda: read(BAIT))",
        "'EACCES'",
        "'bait'",
    ),
    Alone(
        "seccomp",
        "landlock",
        ("no_new_privs",),
        "attempt(lambda: socket.socket(socket.AF_INET).close())",
        "'EACCES'",
        "'done'",
    ),
    Alone(
        "import_policy",
        "process",
        (),
        "attempt(lambda: __import__('wave').__name__)",
        "'ImportError'",
        "'wave'",
    ),
)


@pytest.fixture(scope="module")
def bait(own_temporary_directory: Path) -> Iterator[Path]:
    """A file of the host that everybody there may read."""
    path = own_temporary_directory / "bait.txt"
    path.write_text("bait")
    path.chmod(0o644)
    yield path
    path.unlink()


@contextmanager
def box_with(tier: Tier, *layers: str) -> Iterator[Sandbox]:
    """A sandbox whose plan asks for `layers` and nothing else."""
    rule = ImportRule("wave", "refuse", "it is a test")
    refused = (rule,) if "import_policy" in layers else ()
    policy = Policy(tier=tier, limits=Limits(open_files=64), imports=ImportPolicy(rules=refused))

    def lower_to_layers(policy: Policy, environment: Environment, **more: Any) -> JailPlan:
        ordered = tuple(layer for layer in LAYERS if layer in layers)
        return replace(lower(policy, environment, **more), layers=ordered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply, "lower", lower_to_layers)
        with Sandbox(policy, pool_size=0) as box:
            yield box


def seen(case: Alone, layers: tuple[str, ...], bait: Path) -> tuple[str | None, tuple[str, ...]]:
    """What the attack sees under a plan with `layers`, and which layers the outcome names."""
    with box_with(case.tier, *layers) as box, box.session() as first, box.session() as second:
        for session in (first, second):
            prepared = session.run(f"BAIT = {str(bait)!r}\n{ATTEMPT}")
            assert prepared.status == "completed", prepared
        assert first.run(case.before).status == "completed"
        outcome = second.run(case.attack)
        return outcome.text, outcome.layers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.layer)
def test_the_layer_alone_stops_its_attack_and_without_it_the_attack_succeeds(
    case: Alone, bait: Path
) -> None:
    if case.layer == "capabilities" and os.geteuid() != 0:
        pytest.skip("capabilities: only root has some to keep. Run the tests as root.")
    held = (*case.needs, case.layer)
    assert seen(case, held, bait) == (case.stopped, tuple(sorted(held, key=LAYERS.index)))
    assert seen(case, case.needs, bait) == (case.succeeds, case.needs)


def test_a_mount_namespace_alone_hides_the_files_of_the_host(bait: Path) -> None:
    look = Alone("mount_namespace", "namespaces", (), "attempt(lambda: read(BAIT))", "", "")
    assert seen(look, ("mount_namespace",), bait)[0] == "'ENOENT'"
    assert seen(look._replace(tier="process"), (), bait)[0] == "'bait'"


def test_a_cgroup_namespace_alone_hides_where_a_session_is_counted(bait: Path) -> None:
    look = Alone(
        "cgroup_namespace",
        "namespaces",
        ("mount_namespace",),
        "'cellblock-' in read('/proc/self/cgroup')",
        "False",
        "True",
    )
    assert seen(look, ("mount_namespace", "cgroup_namespace"), bait)[0] == "False"
    assert seen(look, ("mount_namespace",), bait)[0] == str(cgroup.find() is not None)


@pytest.mark.skipif(
    not os.path.exists("/bin/su") or not os.stat("/bin/su").st_mode & stat.S_ISUID,
    reason="no program here that would take on another id",
)
def test_no_new_privileges_alone_keeps_set_uid_programs_from_their_rights(bait: Path) -> None:
    look = Alone("no_new_privs", "process", (), "attempt(euid_of_set_uid_program)", "", "")
    stopped, _layers = seen(look, ("no_new_privs",), bait)
    assert stopped not in (None, "'0'")
    assert seen(look, (), bait)[0] == "'0'"
