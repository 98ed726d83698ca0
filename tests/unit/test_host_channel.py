"""The host's end of a channel: order, backlog, faults, descriptors."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.processes.host_channel import HostChannel
from sandbox.protocol.frames import HEADER
from sandbox.protocol.messages import (
    TO_HOST_CAP_BYTES,
    CopyReady,
    Direction,
    Interrupt,
    Measured,
    Message,
    Ready,
    Run,
    pack,
)


class Ends:
    """A channel, its other end, and what the channel has told."""

    def __init__(
        self, incoming: Direction = "from_guest", *, cap: int = 4096, trusted: bool = False
    ) -> None:
        mine, self.other = socket.socketpair()
        self.messages: list[Message] = []
        self.ends: list[str | None] = []
        self.channel = HostChannel(
            mine,
            incoming,
            cap,
            on_message=self.messages.append,
            on_end=self.ends.append,
            trusted=trusted,
        )

    def close(self) -> None:
        self.channel.close()
        self.other.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0)


async def test_messages_arrive_in_order_however_they_are_split() -> None:
    ends = Ends()
    data = b"".join(pack(CopyReady(pid)) for pid in (1, 2, 3))
    for byte in data:
        ends.other.send(bytes([byte]))
        ends.channel.read_now()
    assert ends.messages == [CopyReady(1), CopyReady(2), CopyReady(3)]
    assert ends.ends == []
    ends.close()


async def test_the_end_of_the_other_side_is_told_once_and_without_a_fault() -> None:
    ends = Ends()
    ends.other.sendall(pack(CopyReady(1)))
    ends.other.close()
    await until(lambda: bool(ends.ends))
    assert (ends.messages, ends.ends) == ([CopyReady(1)], [None])
    assert not ends.channel.is_open
    ends.channel.read_now()
    ends.channel.send(Interrupt(2))
    assert ends.ends == [None]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (HEADER.pack(30, 4097), "frame 30 claims 4097 bytes, the cap is 4096"),
        (HEADER.pack(99, 0), "kind 99 is no message from guest"),
        (HEADER.pack(30, 2) + b"{}", "CopyReady: fields are missing or unknown"),
        (HEADER.pack(30, 9) + b'{"pid":0}', "CopyReady.pid: out of bounds"),
        (HEADER.pack(30, 1) + b"\xff", "CopyReady: body is not JSON (UnicodeDecodeError)"),
        (pack(Interrupt(1)), "kind 12 is no message from guest"),
    ],
)
async def test_a_fault_ends_the_wire_and_says_what_came(data: bytes, fault: str) -> None:
    ends = Ends()
    ends.other.sendall(pack(CopyReady(1)))
    ends.channel.read_now()
    ends.other.sendall(data + pack(CopyReady(2)))
    await until(lambda: bool(ends.ends))
    assert ends.messages == [CopyReady(1)]
    assert ends.ends == [fault]
    assert not ends.channel.is_open
    ends.close()


async def test_nothing_is_told_after_a_message_that_made_the_reader_close() -> None:
    ends = Ends()
    ends.channel._on_message = lambda _message: ends.channel.close()
    ends.other.sendall(pack(CopyReady(1)) * 3)
    await until(lambda: not ends.channel.is_open)
    assert ends.ends == []
    ends.close()


async def test_what_the_socket_does_not_take_waits_and_follows_in_order() -> None:
    ends = Ends("from_guest")
    message = Run("n", 1, "x" * 3_000_000, None, False)
    last = Run("n", 2, "y", None, False)
    ends.channel.send(message)
    ends.channel.send(last)
    expected = pack(message) + pack(last)
    ends.other.setblocking(False)
    received = bytearray()

    def take() -> bool:
        with suppress(BlockingIOError):
            received.extend(ends.other.recv(1 << 18))
        return len(received) >= len(expected)

    await until(take)
    assert bytes(received) == expected
    ends.close()


async def test_descriptors_cannot_wait_behind_a_backlog() -> None:
    ends = Ends()
    ends.channel.send(Run("n", 1, "x" * 3_000_000, None, False))
    with pytest.raises(BlockingIOError, match="behind unsent messages"):
        ends.channel.send(Run("n", 2, "y", None, True), (0,))
    ends.close()


async def test_only_a_trusted_side_hands_over_descriptors_and_its_pid() -> None:
    read, write = os.pipe()
    ready = pack(Ready(7, ["seccomp"]))
    trusted, hostile = Ends("from_init", trusted=True), Ends("from_guest")
    for ends in (trusted, hostile):
        data = ready if ends is trusted else pack(Measured("n", 1))
        socket.send_fds(ends.other, [data], [write])
        await until(lambda ends=ends: bool(ends.messages))  # type: ignore[misc]
    assert trusted.channel.sender_pid == os.getpid()
    assert len(trusted.channel.descriptors) == 1
    assert hostile.channel.sender_pid is None
    assert hostile.channel.descriptors == []
    os.close(write)
    trusted.close()
    # The channel owned the only copy that was left of the write end; the hostile one was dropped.
    assert os.read(read, 1) == b""
    os.close(read)
    hostile.close()


async def test_a_closed_wire_leaves_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        ends = Ends()
        ends.channel.send(Run("n", 1, "x" * 3_000_000, None, False))
        ends.close()
        ends.channel.close()
    assert len(os.listdir("/proc/self/fd")) == before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=6), st.booleans())
def test_no_bytes_of_a_guest_raise_in_the_host(chunks: list[bytes], starts_well: bool) -> None:
    async def hear() -> None:
        ends = Ends(cap=TO_HOST_CAP_BYTES)
        if starts_well:
            ends.other.sendall(pack(CopyReady(1)))
            ends.channel.read_now()
        for chunk in chunks:
            if chunk and ends.channel.is_open:
                ends.other.sendall(chunk)
                ends.channel.read_now()
        ends.other.close()
        ends.channel.read_now()
        ends.channel.read_now()
        assert len(ends.ends) == 1
        assert ends.messages[:1] == [CopyReady(1)][: int(starts_well)]
        ends.close()

    asyncio.run(hear())


async def test_a_message_before_a_bad_header_is_heard_also_when_both_come_at_once() -> None:
    ends = Ends()
    ends.other.sendall(pack(CopyReady(1)) + HEADER.pack(1, 1 << 30))
    await until(lambda: bool(ends.ends))
    assert ends.messages == [CopyReady(1)]
    assert ends.ends == ["frame 1 claims 1073741824 bytes, the cap is 4096"]
    ends.close()


async def test_a_channel_that_does_not_listen_reads_when_it_is_told_to() -> None:
    mine, other = socket.socketpair()
    messages: list[Message] = []
    channel = HostChannel(
        mine,
        "from_guest",
        4096,
        on_message=messages.append,
        on_end=lambda _fault: None,
        listens=False,
    )
    other.send(pack(CopyReady(1)))
    for _ in range(3):
        await asyncio.sleep(0)
    assert messages == []
    channel.read_now()
    assert messages == [CopyReady(1)]
    other.send(pack(CopyReady(2)))
    channel.listen()
    await until(lambda: len(messages) == 2)
    channel.close()
    other.close()
