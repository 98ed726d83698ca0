"""What init notes of refused calls: once each, counted, bounded, decoded."""

import errno
import os
import signal
import socket
import struct

import pytest

from sandbox.guest.branching.refused_calls import RefusedCalls
from sandbox.guest.jail.callrules import rules_for
from sandbox.guest.kernel.procfs import Processes
from sandbox.protocol.messages import CALLS_CAP, CallRefused


class Memory(Processes):
    """A process whose memory and name are these."""

    def __init__(self, at: dict[int, bytes], name: bytes = b"python\n") -> None:
        super().__init__(-1)
        self._at = at
        self._name = name

    def read(self, path: str, size: int, offset: int = 0) -> bytes:
        """What is at `offset`."""
        if path.endswith("comm"):
            return self._name[:size]
        if offset not in self._at:
            raise PermissionError(errno.EPERM, "not readable")
        return self._at[offset][:size]


def calls(
    at: dict[int, bytes] | None = None, name: bytes = b"python\n"
) -> tuple[RefusedCalls, list[CallRefused]]:
    told: list[CallRefused] = []
    refused = RefusedCalls(rules_for("namespaces"), Memory(at or {}, name), told.append)
    return refused, told


def note(refused: RefusedCalls, call: str, *arguments: int) -> int:
    words = (*arguments, *[0] * (6 - len(arguments)))
    rule = refused.refusal(call, words)
    assert rule is not None
    return refused.note_rule(7, call, words, rule)


@pytest.mark.parametrize(
    ("call", "arguments", "decoded", "number"),
    [
        ("socket", (17, 3, 0), {"family": "AF_PACKET", "type": "SOCK_RAW"}, errno.ESOCKTNOSUPPORT),
        ("socket", (40, 1 | 0o2000000, 0), {"family": "AF_VSOCK"}, errno.EAFNOSUPPORT),
        ("ptrace", (16, 1), {"request": "PTRACE_ATTACH", "target": "1"}, errno.EPERM),
        ("unshare", (0x10000000 | 0x20000,), {"flags": "CLONE_NEWNS|CLONE_NEWUSER"}, errno.EPERM),
        ("setuid", (2**32 - 1,), {"id": "-1"}, errno.EPERM),
        ("mknod", (0, 0o20666, 0), {"mode": "0o20666"}, errno.EPERM),
        ("prctl", (22, 2), {"option": "22"}, errno.EPERM),
        ("bpf", (5,), {"command": "5"}, errno.EPERM),
    ],
)
def test_registers_are_shown_in_their_own_words(
    call: str, arguments: tuple[int, ...], decoded: dict[str, str], number: int
) -> None:
    refused, told = calls()
    assert note(refused, call, *arguments) in (number, errno.EAFNOSUPPORT)
    [message] = told
    assert decoded.items() <= message.arguments.items()
    assert message.program == "python"
    assert not message.is_read


def test_what_registers_point_to_is_read_where_it_can_be_and_marked() -> None:
    refused, told = calls({100: b"/dev/sda\0junk", 200: b"/mnt\0", 300: b"ext4\0"})
    note(refused, "mount", 100, 200, 300)
    note(refused, "mount", 999, 200)
    assert [one.arguments for one in told] == [
        {"source": "/dev/sda", "target": "/mnt", "type": "ext4", "flags": "0x0"},
        {"target": "/mnt", "flags": "0x0"},
    ]
    assert all(one.is_read for one in told)


def test_an_address_is_read_as_the_kernel_would() -> None:
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", 443) + bytes([203, 0, 113, 10])
    told: list[CallRefused] = []
    memory = Memory({100: address})
    refused = RefusedCalls(rules_for("landlock", 7), memory, told.append)
    note(refused, "connect", 3, 100, 16)
    assert told[0].arguments == {"address": "203.0.113.10:443"}


def test_a_pointer_to_nowhere_is_no_error() -> None:
    refused, told = calls()
    note(refused, "mount", 2**64 - 1, 2**63, 1)
    assert told[0].arguments == {"flags": "0x0"}


def test_a_flood_is_told_once_and_counted() -> None:
    refused, told = calls()
    for _ in range(10_000):
        note(refused, "ptrace", 16, 1)
    assert len(told) == 1
    counts = refused.take()
    assert (counts.counts, counts.left_out) == ([10_000], 0)
    assert refused.take().counts == []


def test_a_flood_of_different_calls_is_bounded() -> None:
    refused, told = calls()
    for target in range(CALLS_CAP + 50):
        note(refused, "ptrace", 16, target)
    assert len(told) == CALLS_CAP
    counts = refused.take()
    assert (len(counts.counts), counts.left_out) == (CALLS_CAP, 50)


def test_what_the_notifier_finds_is_noted_too() -> None:
    refused, told = calls()
    refused.note(7, "kill", (1, signal.SIGKILL, 0, 0, 0, 0), errno.EPERM, "init is not its own")
    assert told == [
        CallRefused(
            "kill", {"target": "1", "signal": "SIGKILL"}, errno.EPERM, "init is not its own",
            "python", False,
        )
    ]  # fmt: skip


def test_a_name_that_is_no_text_is_shown_as_bytes() -> None:
    refused, told = calls(name=b"\xff\xfe\n")
    note(refused, "ptrace", 16, 1)
    assert told[0].program == "\\xff\\xfe"


def test_memory_of_a_real_process_is_read(tmp_path: object) -> None:
    import ctypes

    buffer = ctypes.create_string_buffer(b"/the/path")
    told: list[CallRefused] = []
    refused = RefusedCalls(rules_for("namespaces"), Processes(-1), told.append)
    words = (ctypes.addressof(buffer), 0, 0, 0, 0, 0)
    rule = refused.refusal("chroot", words)
    assert rule is not None
    refused.note_rule(os.getpid(), "chroot", words, rule)
    assert told[0].arguments == {"path": "/the/path"}
