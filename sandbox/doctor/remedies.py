"""Why a layer does not hold here, and the command or setting that changes that: one table.

The first row that fits a refusal decides. A row is about a call, for the same refusal of
`unshare` closes seven layers and has one remedy; where the same answer can have several causes,
`where` tells them apart by what else is known of the machine.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """What the probe saw of the machine beside the layers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kernel: str
    machine: str
    python: str
    interpreter: str
    """Its real path, as a security module sees it."""
    uid: int
    landlock_abi: int
    """What the kernel answered; 0 where Landlock does not hold."""
    cgroup_version: int
    """2 or 1 where sessions can have cgroups, else 0."""
    cgroup_parents: tuple[tuple[str, str], ...]
    """Controller ("all" for version 2) and the directory in which groups can be made."""
    host_id_base: int | None
    """First of the host ids that sessions can be given; None where they share the caller's."""
    container: str
    """Kind of container that this looks like; empty where it looks like none."""
    inherited_filter: bool
    """Whether a seccomp filter was there before ours."""
    unprivileged_userns_clone: int | None
    max_user_namespaces: int | None
    apparmor_restricts_userns: int | None


class Cause(NamedTuple):
    reason: str
    remedy: str


class Row(NamedTuple):
    layer: str
    """Name of the layer, or a pattern (fnmatch)."""
    call: str
    """What was refused, as the probe names it, or a pattern."""
    errors: str
    """Names of errors, parted by blanks; "" is a call without its effect, "*" any error."""
    where: Callable[[Facts], bool]
    reason: str
    remedy: str


def anywhere(_facts: Facts) -> bool:
    return True


def clone_is_off(facts: Facts) -> bool:
    return facts.unprivileged_userns_clone == 0 and facts.uid != 0


def quota_is_zero(facts: Facts) -> bool:
    return facts.max_user_namespaces == 0


def apparmor_restricts(facts: Facts) -> bool:
    return facts.apparmor_restricts_userns == 1 and facts.uid != 0


def is_filtered(facts: Facts) -> bool:
    return facts.inherited_filter


def is_root(facts: Facts) -> bool:
    return facts.uid == 0


def inside(container: str) -> Callable[[Facts], bool]:
    return lambda facts: facts.container == container


NAMESPACE: Final = "*_namespace"
REFUSED: Final = "EPERM EACCES"
DOCKER: Final = (
    "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    " --security-opt systempaths=unconfined ..."
)
PODMAN: Final = "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL ..."
KUBERNETES: Final = (
    "In the pod: hostUsers: false, and in its securityContext:"
    " seccompProfile: {{type: Unconfined}}, appArmorProfile: {{type: Unconfined}},"
    " procMount: Unmasked"
)
APPARMOR: Final = (
    "printf 'abi <abi/4.0>,\\nprofile cellblock {interpreter} flags=(unconfined) {{ userns, }}\\n'"
    " | sudo tee /etc/apparmor.d/cellblock && sudo apparmor_parser -r /etc/apparmor.d/cellblock"
    " (or, for every program: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)"
)
DELEGATE: Final = "-p Delegate=yes -p DelegateSubgroup=host --pty --same-dir COMMAND"
LANDLOCK_BOOT: Final = (
    "Put lsm=landlock,LIST on the kernel command line, where LIST is what"
    " `cat /sys/kernel/security/lsm` prints (GRUB_CMDLINE_LINUX in /etc/default/grub), then"
    " sudo update-grub and reboot"
)

# fmt: off
ROWS: Final = (
    # ---- user namespaces, and what is done as root of one -------------------------------------
    Row(
        NAMESPACE, "*unshare(CLONE_NEWUSER)", REFUSED, clone_is_off,
        "this kernel makes user namespaces for root alone",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    Row(
        NAMESPACE, "*unshare(CLONE_NEWUSER)", "ENOSPC EUSERS EPERM", quota_is_zero,
        "the number of user namespaces is limited to none",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
    Row(
        NAMESPACE, "*unshare(CLONE_NEWUSER)", "ENOSPC EUSERS", anywhere,
        "the limit of user namespaces is reached, or they are nested 32 deep",
        "sudo sysctl -w user.max_user_namespaces=100000, or start fewer levels down",
    ),
    Row(
        "pid_namespace", "*proc*", REFUSED, inside("docker"),
        "parts of /proc are masked, and the kernel refuses to mount one that shows more",
        DOCKER,
    ),
    Row(
        "pid_namespace", "*proc*", REFUSED, inside("podman"),
        "parts of /proc are masked, and the kernel refuses to mount one that shows more",
        PODMAN,
    ),
    Row(
        "pid_namespace", "*proc*", REFUSED, inside("kubernetes"),
        "parts of /proc are masked, and the kernel refuses to mount one that shows more",
        KUBERNETES,
    ),
    Row(
        NAMESPACE, "*", REFUSED, inside("docker"),
        "the container's seccomp or AppArmor profile refuses it",
        DOCKER,
    ),
    Row(
        NAMESPACE, "*", REFUSED, inside("podman"),
        "the container's seccomp profile refuses it",
        PODMAN,
    ),
    Row(
        NAMESPACE, "*", REFUSED, inside("kubernetes"),
        "the pod's seccomp or AppArmor profile refuses it",
        KUBERNETES,
    ),
    Row(
        NAMESPACE, "*", REFUSED, apparmor_restricts,
        "AppArmor takes the capabilities away that a new user namespace gives",
        APPARMOR,
    ),
    Row(
        NAMESPACE, "write(*_map)", "EPERM ERANGE EINVAL", anywhere,
        "there are no 60100 spare ids above the caller's in its own user namespace",
        "Run as a plain user, or give the container at least 65536 ids (in /etc/subuid and"
        " /etc/subgid)",
    ),
    Row(
        "pid_namespace", "*proc*", REFUSED, anywhere,
        "something is mounted over parts of /proc, and the kernel refuses to mount one that"
        " shows more",
        "findmnt -R /proc shows what is in the way: sudo umount each",
    ),
    Row(
        "pid_namespace", "fsopen(proc, subset=pid)", "EINVAL", anywhere,
        "this kernel's proc knows no subset=pid",
        "Boot Linux 5.8 or newer",
    ),
    Row(
        NAMESPACE, "*", "EPERM EACCES ENOSYS", is_filtered,
        "a seccomp filter was there before ours and refuses it",
        "Start without it: in a systemd unit drop RestrictNamespaces= and SystemCallFilter=,"
        " in a container use seccomp=unconfined",
    ),
    Row(
        NAMESPACE, "*unshare(CLONE_NEW*)", "EPERM", anywhere,
        "the process is in a chroot, or a security module refuses it",
        "Start outside of the chroot; `sudo journalctl -k -g 'denied|audit'` names a module's rule",
    ),
    Row(
        NAMESPACE, "*unshare(CLONE_NEW*)", "EINVAL ENOSYS", anywhere,
        "this kernel was built without that kind of namespace",
        "Boot a kernel with CONFIG_NAMESPACES, CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS,"
        " CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_CGROUPS",
    ),
    Row(
        NAMESPACE, "*unshare(CLONE_NEW*)", "ENOSPC EUSERS", anywhere,
        "the limit of that kind of namespace is reached",
        "grep . /proc/sys/user/max_*_namespaces shows it: sudo sysctl -w"
        " user.max_..._namespaces=15000",
    ),
    Row(
        "mount_namespace", "pivot_root", "EINVAL", anywhere,
        "/ is the initial RAM file system, which cannot be pivoted away from",
        "Move to a root on a disk or a tmpfs first (switch_root), or start inside a container",
    ),
    Row(
        "mount_namespace", "*", "ENOSYS", anywhere,
        "this kernel lacks that call",
        "Boot Linux 5.12 or newer",
    ),
    Row(
        NAMESPACE, "*", REFUSED, anywhere,
        "a security module refuses it",
        "`sudo journalctl -k -g 'denied|audit'` names the rule: allow it for {interpreter}",
    ),
    # ---- what a process does to itself --------------------------------------------------------
    Row(
        "landlock*", "landlock_create_ruleset", "EOPNOTSUPP", anywhere,
        "Landlock is built in but not turned on at boot",
        LANDLOCK_BOOT,
    ),
    Row(
        "landlock*", "landlock_*", "ENOSYS EPERM", is_filtered,
        "a seccomp filter was there before ours and refuses it, or this kernel lacks Landlock",
        "In a container use seccomp=unconfined or a newer runtime; else boot Linux 5.13 or newer"
        " with CONFIG_SECURITY_LANDLOCK=y",
    ),
    Row(
        "landlock*", "landlock_*", "ENOSYS", anywhere,
        "this kernel lacks Landlock",
        "Boot Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK=y",
    ),
    Row(
        "landlock_scopes", "landlock_create_ruleset(scoped)", "EINVAL E2BIG ENOMSG", anywhere,
        "this kernel's Landlock rules neither signals nor abstract sockets",
        "Boot Linux 6.12 or newer; until then the filter of the tier landlock refuses those calls",
    ),
    Row(
        "seccomp", "seccomp", "ENOSYS EINVAL", anywhere,
        "this kernel was built without seccomp filters, or emulates another",
        "Boot a kernel with CONFIG_SECCOMP_FILTER=y; under emulation, run on the machine's own"
        " architecture",
    ),
    Row(
        "seccomp", "seccomp", REFUSED, anywhere,
        "a seccomp filter was there before ours and refuses another one",
        "Start without it: in a container use seccomp=unconfined",
    ),
    Row(
        "rlimits", "setrlimit(*)", REFUSED, anywhere,
        "a filter or a security module refuses it",
        "Start without it: in a systemd unit drop SystemCallFilter=~@resources",
    ),
    # ---- cgroups: without them the meter watches ---------------------------------------
    Row(
        "cgroup", "find", "", anywhere,
        "no cgroups are mounted here",
        "sudo mount -t cgroup2 none /sys/fs/cgroup",
    ),
    Row(
        "cgroup", "controllers", "", anywhere,
        "a controller is neither in version 2 nor mounted in version 1",
        "Boot with systemd.unified_cgroup_hierarchy=1 cgroup_enable=memory",
    ),
    Row(
        "cgroup", "*", "EROFS", anywhere,
        "cgroups are mounted read-only",
        "docker run --cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw ..., or sudo mount -o"
        " remount,rw /sys/fs/cgroup",
    ),
    Row(
        "cgroup", "* in version 1", REFUSED, anywhere,
        "version 1 groups belong to root",
        "Run as root, or boot with systemd.unified_cgroup_hierarchy=1 and start with"
        f" systemd-run --user {DELEGATE}",
    ),
    Row(
        "cgroup", "*", "*", is_root,
        "the cgroup of this process is not delegated",
        f"systemd-run {DELEGATE}; in a unit: Delegate=yes and DelegateSubgroup=host (systemd 254)",
    ),
    Row(
        "cgroup", "*", "*", anywhere,
        "the cgroup of this process is not delegated to this user",
        f"systemd-run --user {DELEGATE}; in a unit: Delegate=yes and DelegateSubgroup=host"
        " (systemd 254)",
    ),
    # ---- all else -----------------------------------------------------------------------------
    Row(
        "*", "try", "*", anywhere,
        "the try itself failed",
        "Run `cellblock doctor` again; if it repeats, the machine is overloaded or out of processes"
        " or memory",
    ),
    Row(
        "*", "*", "*", anywhere,
        "the kernel answers as no kernel known to us does",
        "Run on a Linux kernel of your own rather than an emulated one (gVisor, WSL 1), and see"
        " `sudo journalctl -k`",
    ),
)
# fmt: on


def cause_of(layer: str, call: str, error: str, facts: Facts) -> Cause:
    """Why `call` failed, and what would close the gap."""
    for row in ROWS:
        if (
            fnmatchcase(layer, row.layer)
            and fnmatchcase(call, row.call)
            and (row.errors == "*" or error in (row.errors.split() or [""]))
            and row.where(facts)
        ):
            return Cause(row.reason, row.remedy.format(interpreter=facts.interpreter))
    raise LookupError(f"no row for {layer}: {call} gave {error}")
