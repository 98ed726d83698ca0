"""Lowering: a policy and an environment become the plan that the guest applies.

Nothing is asked of the guest here, and nothing is left for it to decide: every path is checked
on the host, absolute, and bound from where it really is.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import EnvironmentFailed, PolicyError
from sandbox.network.access import TRUSTED_FILE, NetworkAccess
from sandbox.policy.environment import Environment
from sandbox.policy.policy import Mount, Policy
from sandbox.protocol.plan import (
    CHECKPOINTS_CAP,
    ENGINE_PROCESSES,
    HASH_SEED,
    LAYERS,
    OWN_PACKAGES,
    Bind,
    JailPlan,
    RlimitPlan,
    Tier,
)

MiB = 1024 * 1024

LAYERS_OF: dict[Tier, frozenset[str]] = {
    "namespaces": frozenset(LAYERS),
    "landlock": frozenset(
        {
            "rlimits",
            "capabilities",
            "no_new_privs",
            "not_dumpable",
            "landlock",
            "seccomp",
            "import_policy",
        }
    ),
    "process": frozenset({"rlimits", "import_policy"}),
}

SYSTEM_DIRECTORIES = (  # path    why
    ("/usr", "programs, libraries, fonts, time zones"),
    ("/lib", "libraries; a link on most hosts, which the jail makes itself"),
    ("/lib64", "the loader; likewise"),
    ("/bin", "programs; likewise"),
    ("/sbin", "programs; likewise"),
)
SETTINGS_FILES = (  # path               why; none of them tells who uses this host
    ("/etc/ld.so.cache", "where libraries are"),
    ("/etc/localtime", "the time zone"),
    ("/etc/alternatives", "links that libraries such as BLAS are reached through"),
    ("/etc/ssl/certs", "certificate authorities: packages load them on import"),
    ("/etc/ssl/openssl.cnf", "OpenSSL reads it on import"),
    ("/etc/pki/ca-trust/extracted", "certificate authorities on other distributions"),
    ("/etc/crypto-policies/back-ends", "OpenSSL reads it there"),
    ("/etc/fonts", "where fonts are"),
    ("/etc/mime.types", "types by file name"),
)
PACKAGE_STORES = (  # path      why
    ("/nix/store", "an interpreter there uses libraries of its neighbours"),
    ("/gnu/store", "likewise"),
)
NEVER_WHOLE = frozenset(
    {
        *("/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp"),
        *("/var", "/var/run", "/var/tmp"),
    }
)
"""Directories that hold what is nobody's business; what lies in them may be shown by name."""
NEVER_BENEATH = ("/proc", "/sys", "/dev")
"""Not even by name: these are interfaces of the host's kernel."""
INSTALLATION_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")
"""What is shown of an interpreter installed straight into a directory of `NEVER_WHOLE`."""

CHILD_PATH = str(Path(__file__).parents[1] / "guest" / "child_path")
"""Modules for programs that a snippet starts: a pip that says that there is no network."""

BYTE_CODE = "/opt/cellblock/byte-code"
"""Where sessions find what was compiled for their environment."""

STACK_BYTES = 8 * MiB
DATA_HEADROOM_BYTES = 512 * MiB
"""RLIMIT_DATA counts what is mapped, not what is used: thread stacks and arenas, measured at
0.4 GiB for 32 threads. The memory limit itself is the cgroup's or the meter's."""
COPYING_PROCESSES = 1
"""The parent that makes a copy lives for a moment beside it."""

IDS_PER_PROCESS = 65_536
FIRST_HOST_ID = 1_000_000
ID_RANGES = 30_000
"""The last range ends far below 2**32 - 2, the highest id there is (user_namespaces(7))."""

THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Host(NamedTuple):
    """What a plan takes from the process that makes it."""

    is_root: bool
    """Root with ids to give to sessions; in a container without them it is a user as any other."""
    pid: int
    cpus: int

    @classmethod
    def here(cls) -> "Host":
        pid = os.getpid()
        is_root = os.geteuid() == 0 and all(
            _maps(file, _host_id_base(pid)) for file in ("uid_map", "gid_map")
        )
        return cls(is_root, pid, len(os.sched_getaffinity(0)))


def _host_id_base(pid: int) -> int:
    """The first of the ids that sessions of the process `pid` are mapped to."""
    return FIRST_HOST_ID + pid % ID_RANGES * IDS_PER_PROCESS


def _maps(file: str, base: int) -> bool:
    """Whether the ids of a process from `base` on exist in this user namespace."""
    with open(f"/proc/self/{file}") as stream:
        rows = [[int(word) for word in line.split()] for line in stream]
    return any(
        first <= base and base + IDS_PER_PROCESS <= first + count for first, _outer, count in rows
    )


def lower(
    policy: Policy,
    environment: Environment,
    host: Host | None = None,
    *,
    has_groups: bool = True,
    access: NetworkAccess | None = None,
    byte_code: str = "",
) -> JailPlan:
    """The plan for `policy` on this host; `has_groups` says whether it has cgroups for us.

    `access` is what the policy's network came to; without it sessions have none. `byte_code` is
    the directory of what was compiled for the environment.

    Raises PolicyError for what cannot be had here: a path that is not there or must not be
    shown, a feature that this version lacks. Raises EnvironmentFailed if the interpreter cannot
    be shown without more than itself.
    """
    host = host or Host.here()
    if policy.network != "none" and access is None:
        raise PolicyError("network", "was not opened for this plan", "Give lower() an access")
    limits, imports = policy.limits, policy.import_policy
    layers = LAYERS_OF[policy.tier]
    has_own_ids = "user_namespace" in layers or host.is_root
    host_id_base = _host_id_base(host.pid) if host.is_root else None
    is_shared = any(mount.access == "rw" for mount in policy.mounts)
    return JailPlan(
        tier=policy.tier,
        layers=tuple(layer for layer in LAYERS if layer in layers),
        binds=_binds(policy, environment, host.is_root, access, byte_code),
        packages=environment.packages,
        byte_code=BYTE_CODE if byte_code and policy.tier == "namespaces" else byte_code,
        preload=policy.preload,
        import_rules=imports.rules,
        import_default=imports.default,
        language=policy.language,
        notebook=policy.notebook and policy.language == "full",
        env=_env(policy, environment, host, access),
        workspace_bytes=limits.workspace_bytes,
        workspace_files=limits.workspace_files,
        shm_bytes=limits.memory_bytes // 2,
        rlimits=RlimitPlan(
            data_bytes=limits.memory_bytes + DATA_HEADROOM_BYTES,
            # Where sessions share an id with the user, all of the user's processes would count.
            processes=_process_cap(limits.processes) if has_own_ids else None,
            open_files=limits.open_files,
            file_bytes=limits.workspace_bytes,
            stack_bytes=STACK_BYTES,
        ),
        host_id_base=host_id_base,
        shared_host_id=host_id_base + 1 if host_id_base is not None and is_shared else None,
        memory_bytes=limits.memory_bytes,
        processes=limits.processes,
        listen_ports=access.ports if access is not None else (),
        has_groups=has_groups,
        trace=policy.trace,
        keep_going=policy.keep_going,
    )


def _process_cap(processes: int) -> int:
    """RLIMIT_NPROC: looser than the cgroup's, which follows the checkpoints kept."""
    return processes + ENGINE_PROCESSES + COPYING_PROCESSES + CHECKPOINTS_CAP


# ---- variables ----------------------------------------------------------------------------------


def _env(
    policy: Policy, environment: Environment, host: Host, access: NetworkAccess | None
) -> tuple[tuple[str, str], ...]:
    """The few variables of every jail, then the policy's; nothing of the host's own."""
    directories = [os.path.dirname(environment.interpreter)]
    directories += ["/usr/local/bin", "/usr/bin", "/bin"]
    variables = {
        "PATH": ":".join(dict.fromkeys(directories)),
        "HOME": "/tmp/home",
        "TMPDIR": "/tmp",
        "USER": "cellblock",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        # An arena per thread maps 64 MiB each, which RLIMIT_DATA counts.
        "MALLOC_ARENA_MAX": "2",
        # Arrow's allocator maps 1 GiB at its first use; so it does not count until it is used.
        "MIMALLOC_ARENA_EAGER_COMMIT": "0",
        # Of its threading layers the one that works in a copy of the process.
        "NUMBA_THREADING_LAYER": "workqueue",
        **dict.fromkeys(THREAD_COUNTS, str(host.cpus)),
        **_python_path(policy, environment),
        **(access.variables if access is not None else {}),
        **policy.env,
    }
    if policy.hash_seed is not None:
        variables[HASH_SEED] = str(policy.hash_seed)
    return tuple(sorted(variables.items()))


def _python_path(policy: Policy, environment: Environment) -> dict[str, str]:
    """Where programs that a snippet starts find modules, and where their pip puts some."""
    own = f"/tmp/home/{OWN_PACKAGES}" if policy.tier == "namespaces" else ""
    child_path = CHILD_PATH if policy.network == "none" else ""
    entries = [entry for entry in (child_path, own, environment.packages) if entry]
    variables = {"PYTHONPATH": ":".join(entries)} if entries else {}
    if policy.network != "none":
        # The interpreter's own directory cannot be written.
        variables |= {"PIP_TARGET": own, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return variables


# ---- paths --------------------------------------------------------------------------------------


def _binds(
    policy: Policy,
    environment: Environment,
    is_root: bool,
    access: NetworkAccess | None,
    byte_code: str,
) -> tuple[Bind, ...]:
    """Host paths that the jail shows: parents first, nothing twice."""
    own = [] if policy.network != "none" or _is_private(CHILD_PATH) else [_bind(CHILD_PATH)]
    if byte_code:
        place = BYTE_CODE if policy.tier == "namespaces" else byte_code
        own.append(Bind(os.path.realpath(byte_code), place, "ro"))
    system = _without_nested([*_system_binds(), *_environment_binds(environment), *own])
    mounts = _mount_binds(policy, system)
    if policy.tier == "process" and not is_root:
        return ()  # Nothing is hidden there from the user's own id, so there is nothing to show.
    if access is not None and access.trusted_file:
        mounts.append(Bind(access.trusted_file, TRUSTED_FILE, "ro"))
    return tuple(sorted([*system, *mounts], key=_by_depth))


def _system_binds() -> Iterator[Bind]:
    for path, _why in SYSTEM_DIRECTORIES:
        if os.path.isdir(path) and not os.path.islink(path):
            yield _bind(path)
    for path, _why in SETTINGS_FILES:
        if os.path.exists(path):
            yield _bind(path)


def _environment_binds(environment: Environment) -> Iterator[Bind]:
    """The interpreter's installation, what its links lead through, and its packages."""
    homes = [environment.prefix, environment.base_prefix]
    for link in environment.links:
        directory, name = os.path.split(os.path.dirname(link))
        if name == "bin":
            homes.append(directory)  # The libraries are beside bin.
        else:
            yield _bind(link)
    for home in dict.fromkeys(homes):
        if home == "/":
            continue  # Its parts are the system's directories.
        if not _is_private(home):
            yield from (_bind(home),) if os.path.isdir(home) else ()
            continue
        parts = (os.path.join(home, part) for part in INSTALLATION_PARTS)
        yield from (_bind(part) for part in parts if os.path.exists(part))
    for entry in environment.sys_path:
        if _is_private(entry):
            raise EnvironmentFailed(
                environment.interpreter,
                f"its sys.path has {entry}, and to show that would show private files",
                remedy="Move the modules to a directory of their own, or use a virtual environment",
            )
        yield _bind(entry)
    for store, _why in PACKAGE_STORES:
        if environment.links[-1].startswith(store + "/"):
            yield _bind(store)


def _mount_binds(policy: Policy, system: list[Bind]) -> list[Bind]:
    """The policy's own mounts, each checked against the system's and against the others."""
    binds: list[Bind] = []
    # Parents first, so that a mount inside another one finds it.
    for index, mount in sorted(
        enumerate(policy.mounts), key=lambda pair: pair[1].target.split("/")
    ):
        bind = Bind(os.path.realpath(mount.host), mount.target, mount.access)
        problem = _mount_problem(mount, bind.source, system, policy.tier)
        if problem is None and policy.tier == "namespaces":
            problem = _target_problem(bind, system, binds)
        if problem is not None:
            raise PolicyError(f"mounts[{index}]", *problem)
        if bind not in binds:
            binds.append(bind)
    return binds


def _mount_problem(
    mount: Mount, source: str, system: list[Bind], tier: Tier
) -> tuple[str, str] | None:
    """Why `mount` cannot be had and what to do; None if it can. `source` is without links."""
    if tier == "process":
        return "tier 'process' has no paths of its own", "Use open() with the host's path"
    if tier == "landlock" and not mount.target == mount.host == source:
        return (
            "tier 'landlock' shows paths where they are, links resolved",
            f"Use {source!r} as host and as target",
        )
    if _is_private(mount.host) or any(_holds(path, source) for path in NEVER_BENEATH):
        return f"{source!r} is never shown as a whole", "Mount a directory inside it"
    try:
        mode = os.stat(source).st_mode
    except OSError as error:
        return f"{mount.host!r} cannot be used: {error.strerror}", "Name a path that exists"
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return f"{mount.host!r} is neither a file nor a directory", "Mount a file or a directory"
    if mount.access == "rw" and any(_overlap(bind.source, source) for bind in system):
        return (
            f"{mount.host!r} overlaps the interpreter or the system, and would be writable",
            'Use access="ro", or another directory',
        )
    return None


def _target_problem(bind: Bind, system: list[Bind], mounts: list[Bind]) -> tuple[str, str] | None:
    """Why the target of `bind` cannot be made and what to do; None if it can."""
    if any(_overlap(other.target, bind.target) for other in system):
        return (
            f"target {bind.target!r} overlaps the interpreter or the system",
            "Choose another target, such as /data",
        )
    outer = [other for other in mounts if _holds(other.target, bind.target)]
    if not outer or outer[-1] == bind:
        return None
    # A mount needs a place in what is there already, which a jail does not write to.
    place = _shown(bind.target, outer[-1])
    if os.path.realpath(place) == place and (
        os.path.isdir(place) if os.path.isdir(bind.source) else os.path.isfile(place)
    ):
        return None
    return (
        f"target {bind.target!r} lies in another mount, which has no such place",
        "Choose a target outside of it",
    )


def _bind(path: str) -> Bind:
    """`path` where it is, read-only; bound from behind its links."""
    return Bind(os.path.realpath(path), path, "ro")


def _is_private(path: str) -> bool:
    """Whether `path` is a directory that must not be shown as a whole."""
    real = os.path.realpath(path)
    # A home directory may be elsewhere, and /home may be a link.
    homes = (os.path.realpath("/home"), os.path.realpath(os.path.expanduser("~")))
    return (
        path in NEVER_WHOLE
        or real in NEVER_WHOLE
        or real in homes
        or os.path.dirname(real) == homes[0]
    )


def _without_nested(binds: Iterable[Bind]) -> list[Bind]:
    """`binds`, parents first, without those that a parent shows already."""
    wanted = sorted(set(binds), key=_by_depth)
    # A link inside another bind stays a link in the jail: what it leads to must be shown.
    ends = [
        Bind(bind.source, bind.source, bind.access)
        if _is_link_inside(bind, _parent(bind, wanted))
        else bind
        for bind in wanted
    ]
    kept: list[Bind] = []
    for bind in sorted(set(ends), key=_by_depth):
        parent = _parent(bind, kept)
        if parent is None or _shown(bind.target, parent) != bind.source:
            kept.append(bind)
    return kept


def _parent(bind: Bind, others: Iterable[Bind]) -> Bind | None:
    """Of `others`, sorted parents first, the closest above `bind`."""
    above = [other for other in others if other != bind and _holds(other.target, bind.target)]
    return above[-1] if above else None


def _is_link_inside(bind: Bind, parent: Bind | None) -> bool:
    return parent is not None and _shown(bind.target, parent) != bind.source


def _shown(target: str, parent: Bind) -> str:
    """The host path that is seen at `target` of a jail which has `parent`."""
    return os.path.normpath(os.path.join(parent.source, os.path.relpath(target, parent.target)))


def _by_depth(bind: Bind) -> list[str]:
    return bind.target.split("/")


def _holds(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _overlap(one: str, other: str) -> bool:
    return _holds(one, other) or _holds(other, one)
