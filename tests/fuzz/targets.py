"""Fuzz targets: each takes any bytes and raises only if its parser did what it must not.

A target is a row of `TARGETS`: what to call, and seeds of our own that reach its branches.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from sandbox.guest.kernel.procfs import Processes, fields, is_live
from sandbox.protocol.codec import SPECS, Direction, Message, MessageError, pack, unpack
from sandbox.protocol.frames import HEADER, Frame, FrameError, FrameReader, encode
from sandbox.protocol.messages import (
    Checked,
    CopyReady,
    Denied,
    Display,
    Done,
    Exited,
    Killed,
    Measured,
    Ready,
    Run,
)
from sandbox.protocol.plan import JailPlan

FRAME_CAP = 4096
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
EXAMPLES: tuple[Message, ...] = (
    Done("n", "raised", None, "E", "m", "t", 2, 1, "", [["added", "x", "int", "", 28]]),
    Display("n", {"text/plain": "1", "image/png": "aGk="}, {"a": 1, "b": None, "c": 1.5}),
    Denied("n", "seccomp", "t", "r", "h"),
    Checked("n", [["os", 1, "allow", "r"]], [[1, "c", "r"]], "", []),
    CopyReady(7),
    Measured("n", 1),
    Run("n", 3, "print('é')", None, True),
    Exited(2, 9),
    Killed(1, [2, 3]),
    Ready(2, ["seccomp"]),
)
STATUS = (
    b"Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nPPid:\t3\nThreads:\t1\nNSpid:\t7\n"
    b"NSpgid:\t7\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\n"
)


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def read_frames(data: bytes) -> None:
    """Frames come out the same however their bytes are split, within the cap, or as FrameError."""
    splits, stream = data[:4], data[4:]
    whole = _frames_of(FrameReader(FRAME_CAP), [stream])
    pieces = []
    for split in splits:
        pieces.append(stream[:split])
        stream = stream[split:]
    assert _frames_of(FrameReader(FRAME_CAP), [*pieces, stream]) == whole
    assert all(len(frame.body) <= FRAME_CAP for frame in whole[0])


def _frames_of(reader: FrameReader, pieces: Sequence[bytes]) -> tuple[list[Frame], bool]:
    found: list[Frame] = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
        while more := reader.feed(b""):
            found += more
    except FrameError:
        return found, True
    return found, False


def unpack_message(data: bytes) -> None:
    """A frame is a message that packs to an equal one, or a MessageError; nothing else."""
    if len(data) < 2:
        return
    direction = DIRECTIONS[data[0] % len(DIRECTIONS)]
    try:
        message = unpack(direction, Frame(data[1], data[2:]))
    except MessageError:
        return
    assert direction in SPECS[type(message)].directions
    packed = pack(message)
    assert unpack(direction, Frame(data[1], packed[HEADER.size :])) == message


def read_name(data: bytes) -> None:
    """Whatever name a process gives itself, /proc says the same of it."""
    name = data[:15].partition(b"\0")[0].replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    row = _Shown(STATUS % name).row(7)
    assert row is not None
    assert (row.parent, row.numbers, row.is_live, row.has_capabilities) == (3, (7,), True, False)


def read_fields(data: bytes) -> None:
    """No bytes make the reader of fields fail; what has no state is not live."""
    told = fields(data)
    if b"State" not in told:
        assert not is_live(told)


def read_plan(data: bytes) -> None:
    """A plan is read, or refused by ValueError, TypeError, KeyError or AttributeError."""
    try:
        JailPlan.from_json(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


class _Shown(Processes):
    def __init__(self, text: bytes) -> None:
        super().__init__(-1)
        self._text = text

    def status(self, pid: int) -> bytes:
        return self._text


def _message_seeds() -> list[bytes]:
    found = []
    for message in EXAMPLES:
        spec = SPECS[type(message)]
        direction = DIRECTIONS.index(spec.directions[0])
        found.append(bytes([direction, spec.kind]) + pack(message)[HEADER.size :])
    return found


TARGETS = {
    "frames": Target(
        read_frames,
        [
            bytes([1, 2, 3, 4]) + b"".join(map(pack, EXAMPLES[:3])),
            bytes(4) + encode(32, b"x" * 100) + b"\x20\xff\xff\xff\xff",
        ],
    ),
    "messages": Target(unpack_message, _message_seeds()),
    "names": Target(read_name, [b"\xff\xfe", b"\x0bState:\tZ", b") Z 1 1", b"\nPPid:\t1"]),
    "fields": Target(read_fields, [STATUS % b"x", b"Name:\tx\nState:\tZ (zombie)\nThreads:\t2\n"]),
    "plans": Target(read_plan, [b"{}", b'{"tier":"namespaces","layers":[]}']),
}
