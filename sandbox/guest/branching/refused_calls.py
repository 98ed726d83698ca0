"""Notes, in init, the calls that the filter refuses, for a session that is traced.

Each different call is told to the host once, when it comes first; repetitions are counted here, and
the counts go out when the host asks for them. So a flood of refused calls costs the session its own
time, and the host one message. Arguments come from the registers that the filter decided on.
What a register points to is read where the kernel lets init read it: that part is the caller's
word, for it may write there at any time.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from sandbox.guest.jail.callrules import Rule
from sandbox.guest.jail.traced_rules import Refusals, errno_of
from sandbox.guest.kernel.procfs import Processes
from sandbox.protocol.messages import CALLS_CAP, CallRefused, RefusalCounts

TEXT_CAP_BYTES = 256
ADDRESS_BYTES = 128
COUNT_CAP = 2**31
AF_INET, AF_INET6, AF_UNIX = 2, 10, 1
FAMILIES = {
    **{0: "AF_UNSPEC", AF_UNIX: "AF_UNIX", AF_INET: "AF_INET", AF_INET6: "AF_INET6"},
    **{16: "AF_NETLINK", 17: "AF_PACKET", 38: "AF_ALG", 40: "AF_VSOCK", 44: "AF_XDP"},
}
SOCKET_TYPES = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET"}
SOCKET_TYPE_MASK = 0xF
REQUESTS = {0: "PTRACE_TRACEME", 16: "PTRACE_ATTACH", 0x4206: "PTRACE_SEIZE"}
NAMESPACES = {
    0x00020000: "CLONE_NEWNS",
    0x02000000: "CLONE_NEWCGROUP",
    0x04000000: "CLONE_NEWUTS",
    0x08000000: "CLONE_NEWIPC",
    0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID",
    0x40000000: "CLONE_NEWNET",
}
ARGUMENTS = {  # call: its arguments in order, each a name and how it is read; - for none
    "socket": "family:family type:type protocol:int",
    "socketpair": "family:family type:type protocol:int",
    "connect": "- address:address",
    "bind": "- address:address",
    "open": "path:text flags:hex",
    "openat": "- path:text flags:hex",
    "truncate": "path:text",
    "chmod": "path:text mode:octal",
    "fchmodat": "- path:text mode:octal",
    "fchmod": "- mode:octal",
    "chown": "path:text user:int group:int",
    "mknod": "path:text mode:octal",
    "mknodat": "- path:text mode:octal",
    "mount": "source:text target:text type:text flags:hex",
    "umount2": "target:text flags:hex",
    "pivot_root": "root:text old:text",
    "chroot": "path:text",
    "swapon": "path:text",
    "ptrace": "request:request target:int",
    "process_vm_readv": "target:int",
    "process_vm_writev": "target:int",
    "kill": "target:int signal:signal",
    "tkill": "target:int signal:signal",
    "tgkill": "group:int target:int signal:signal",
    "rt_sigqueueinfo": "target:int signal:signal",
    "pidfd_send_signal": "- signal:signal",
    "pidfd_open": "target:int",
    "unshare": "flags:namespaces",
    "setns": "- flags:namespaces",
    "clone": "flags:namespaces",
    "prctl": "option:int",
    "personality": "persona:hex",
    "ioctl": "- request:hex",
    "fcntl": "- command:int",
    "setsockopt": "- level:int option:int",
    "bpf": "command:int",
    "keyctl": "operation:int",
    "setuid": "id:int",
    "setgid": "id:int",
    "setresuid": "real:int effective:int saved:int",
    "setresgid": "real:int effective:int saved:int",
    "prlimit64": "target:int resource:int",
    "sched_setscheduler": "target:int policy:int",
    "memfd_create": "name:text flags:hex",
    "sethostname": "name:text",
    "init_module": "",
}
POINTERS = ("text", "address")


class Seen(NamedTuple):
    """What was told of one call, and how often it came since."""

    place: int
    times: int


class RefusedCalls:
    """The refused calls of a session since the host last asked."""

    def __init__(
        self,
        rules: Sequence[Rule],
        processes: Processes,
        tell: Callable[[CallRefused], None],
    ) -> None:
        self._refusals = Refusals(rules)
        self._processes = processes
        self._tell = tell
        self._seen: dict[tuple[str, tuple[int, ...], str], Seen] = {}
        self._left_out = 0

    def refusal(self, name: str, arguments: Sequence[int]) -> Rule | None:
        """The rule that refuses this call; None where it is for the notifier to judge."""
        return self._refusals.rule_of(name, arguments)

    def note_rule(self, pid: int, name: str, arguments: Sequence[int], rule: Rule) -> int:
        """Note a call that `rule` refuses; the errno to answer with."""
        number = errno_of(rule)
        self.note(pid, name, arguments, number, rule.why)
        return number

    def note(self, pid: int, name: str, arguments: Sequence[int], number: int, why: str) -> None:
        """Note a call of the process or thread `pid`, which fails with the errno `number`."""
        shape = ARGUMENTS.get(name, "").split()
        words = [word for word in shape if word != "-"]
        registers = tuple(arguments[place] for place, word in enumerate(shape) if word != "-")
        read = {
            word.partition(":")[0]: _read(self._processes, pid, word.partition(":")[2], value)
            for word, value in zip(words, registers, strict=True)
            if word.partition(":")[2] in POINTERS
        }
        plain = tuple(
            value
            for word, value in zip(words, registers, strict=True)
            if word.partition(":")[2] not in POINTERS
        )
        key = (name, plain, repr(read))
        seen = self._seen.get(key)
        if seen is not None:
            self._seen[key] = Seen(seen.place, min(COUNT_CAP, seen.times + 1))
            return
        if len(self._seen) >= CALLS_CAP:
            self._left_out = min(COUNT_CAP, self._left_out + 1)
            return
        self._seen[key] = Seen(len(self._seen), 1)
        decoded = dict(_decoded(words, registers, read))
        program = self._name_of(pid)
        self._tell(CallRefused(name, decoded, number, why, program, any(read.values())))

    def take(self) -> RefusalCounts:
        """How often each call came, in the order in which they were told; then begin anew."""
        counts = RefusalCounts([seen.times for seen in self._seen.values()], self._left_out)
        self._seen.clear()
        self._left_out = 0
        return counts

    def _name_of(self, pid: int) -> str:
        """The name that the process gives itself, for the reader to tell programs apart."""
        with suppress(OSError):
            return _shown(self._processes.read(f"{pid}/comm", 32).rstrip(b"\n"))
        return ""


def _decoded(
    words: Sequence[str], registers: Sequence[int], read: dict[str, str]
) -> Iterator[tuple[str, str]]:
    for word, value in zip(words, registers, strict=True):
        name, _, kind = word.partition(":")
        if kind not in POINTERS:
            yield name, _number(kind, value)
        elif read[name]:
            yield name, read[name]


def _number(kind: str, register: int) -> str:
    """The low half of a register, in the words of its kind."""
    value = register & 0xFFFFFFFF
    if kind == "family":
        return FAMILIES.get(value, str(value))
    if kind == "type":
        return SOCKET_TYPES.get(value & SOCKET_TYPE_MASK, str(value & SOCKET_TYPE_MASK))
    if kind == "request":
        return REQUESTS.get(value, hex(value))
    if kind == "signal":
        with suppress(ValueError):
            return signal.Signals(value).name
    if kind == "namespaces":
        names = [name for flag, name in NAMESPACES.items() if value & flag]
        return "|".join(names) or hex(value)
    if kind == "hex":
        return hex(value)
    if kind == "octal":
        return oct(value)
    return str(value - (1 << 32) if value >> 31 else value)


def _read(processes: Processes, pid: int, kind: str, pointer: int) -> str:
    """What the caller has at `pointer` now; empty where init may not read its memory."""
    if not pointer:
        return ""
    size = TEXT_CAP_BYTES if kind == "text" else ADDRESS_BYTES
    with suppress(OSError, OverflowError, ValueError):
        data = processes.read(f"{pid}/mem", size, pointer)
        return _shown(data.partition(b"\0")[0]) if kind == "text" else _address(data)
    return ""


def _address(data: bytes) -> str:
    """A struct sockaddr as host:port, or as the path of a local socket."""
    family = int.from_bytes(data[:2], "little")
    if family == AF_INET:
        return f"{'.'.join(map(str, data[4:8]))}:{int.from_bytes(data[2:4], 'big')}"
    if family == AF_INET6:
        groups = ":".join(f"{int.from_bytes(data[at : at + 2], 'big'):x}" for at in range(8, 24, 2))
        return f"[{groups}]:{int.from_bytes(data[2:4], 'big')}"
    if family == AF_UNIX:
        return _shown(data[2:110].partition(b"\0")[0]) or "an abstract name"
    return FAMILIES.get(family, str(family))


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
