"""Fuzz targets: each takes any bytes and raises only if its parser did what it must not.

A target is a row of `TARGETS`: what to call, and seeds of our own that reach its branches.
"""

import asyncio
import atexit
import functools
import itertools
import json
import struct
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_args

from starlette.requests import Request

from runner.dialects import chat, dashscope, responses
from runner.errors import RequestError
from runner.faces.jupyter.wire import BadMessage
from runner.models.upstream.sse import EventDecoder, ServerEvent, TooLong
from runner.server.http import bodies
from runner.server.http.uploads import FormReader, Upload
from runner.server.jupyter import frames as notebook
from runner.server.store.blobs import BlobWriter
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
from sandbox.protocol.slices import unpack_in_slices
from sandbox.protocol.values import Packed, ValueRefused, unpack_value

FRAME_CAP = 4096
BODY_CAP = 4096
EVENT_CAP = 512
BOUNDARY = b"edge"
PARSERS: tuple[Callable[[Any], object], ...] = (
    chat.parse,
    lambda body: chat.parse(body, rules="openai"),
    lambda body: responses.parse(body, lookup=lambda _id: None, rules="openai"),
    lambda body: dashscope.parse(body, stream=True),
)
T = TypeVar("T")
CORPORA = Path(__file__).with_name("corpora")
"""Inputs that the fuzzer found to reach more, small and few: a file a target, a line each, hex."""
VALUE_KINDS = ("json", "bytes", "nothing")
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


def kept(name: str) -> list[bytes]:
    """The inputs in the tree for the target `name`."""
    path = CORPORA / f"{name}.txt"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


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


def read_in_slices(data: bytes) -> None:
    """A frame of a guest is the same message, or none, whether it is read in slices or at once."""
    if not data:
        return
    frame = Frame(data[0], data[1:])
    reading = unpack_in_slices("from_guest", frame)
    sliced: Message | None = None
    try:
        while True:
            next(reading)
    except StopIteration as stop:
        sliced = stop.value
    except MessageError:
        pass
    try:
        whole = unpack("from_guest", frame)
    except MessageError:
        whole = None
    # What a session sends is ASCII; in slices nothing else is taken.
    assert sliced == whole or (sliced is None and not frame.body.isascii())


def read_upload(data: bytes) -> None:
    """A form gives the same file and fields however it is split, or a typed refusal.

    Of bytes before the first boundary the library refuses some splits and skips others.
    """
    splits, body = data[:4], data[4:]
    pieces = []
    for split in splits:
        pieces.append(body[:split])
        body = body[split:]
    pieces.append(body)
    found = {repr(_form_of(pieces)), repr(_form_of([b"".join(pieces)]))}
    assert len(found - {repr("refused")}) <= 1


def _form_of(pieces: Sequence[bytes]) -> tuple[object, ...] | str:
    written = _Written()
    found = Upload(cast(BlobWriter, written), BODY_CAP)
    try:
        reader = FormReader(BOUNDARY, parts_most=100)
        for piece in pieces:
            for part in reader.feed(piece):
                found.take(part)
        if not reader.is_whole:
            return "refused"
        _run(found.flush())
        assert len(found.fields) <= 16
        return found.filename, found.fields, bytes(written.data)
    except RequestError:
        return "refused"


class _Written:
    """In place of a file."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data


@functools.cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, on a loop that is made once: to make one takes longer than to parse."""
    return _runner().run(work)


def read_events(data: bytes) -> None:
    """The events of an answer are the same however it is split; an event is within the cap."""
    splits, stream = data[:4], data[4:]
    pieces = []
    for split in splits:
        pieces.append(stream[:split])
        stream = stream[split:]
    pieces.append(stream)
    found, was_too_long = _events_of(pieces)
    whole, whole_too_long = _events_of([b"".join(pieces)])
    assert was_too_long == whole_too_long
    if not was_too_long:
        assert found == whole
    assert all(len(event.data) <= 3 * EVENT_CAP for event in found)


def _events_of(pieces: Sequence[bytes]) -> tuple[list[ServerEvent], bool]:
    decoder, found = EventDecoder(cap_bytes=EVENT_CAP), list[ServerEvent]()
    try:
        for piece in pieces:
            found += decoder.feed(piece)
        found += decoder.finish()
    except TooLong:
        return found, True
    return found, False


def read_request(data: bytes) -> None:
    """A JSON body is a request of a dialect, or a RequestError; nothing else is raised."""
    if not data:
        return
    pieces = [data[1:][at : at + 100] for at in range(0, len(data), 100)]

    async def receive() -> dict[str, object]:
        body = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    request = Request({"type": "http", "headers": []}, receive)
    try:
        body = _run(bodies.read_json(request, BODY_CAP))
        PARSERS[data[0] % len(PARSERS)](body)
    except RequestError:
        return


def read_notebook(data: bytes) -> None:
    """A message of a notebook's WebSocket is a request, or a BadMessage; nothing else is raised."""
    kind, message = data[:1], data[1:]
    is_text, is_v1 = kind in (b"", b"\0"), kind == b"\1"
    try:
        taken = notebook.read(
            message.decode("utf-8", "replace") if is_text else message, b"id", is_v1=is_v1
        )
    except BadMessage:
        return
    assert taken.channel in notebook.CHANNELS
    assert isinstance(taken.request.content, dict)


def read_value(data: bytes) -> None:
    """Bytes of a value are a value, or a ValueRefused; nothing else is raised."""
    if not data:
        return
    try:
        unpack_value(Packed(VALUE_KINDS[data[0] % len(VALUE_KINDS)], data[1:]))
    except ValueRefused:
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


def _form(*parts: tuple[bytes, bytes]) -> bytes:
    head = b"--edge\r\nContent-Disposition: form-data; "
    return b"".join(head + name + b"\r\n\r\n" + data + b"\r\n" for name, data in parts)


FORMS = (
    _form((b'name="purpose"', b"user_data"), (b'name="file"; filename="a.csv"', b"1,2\r\n--edg"))
    + b"--edge--\r\n",
    _form((b'name="file"; filename="\xc3\xa9"', b"x" * 40)) + b"--edge--",
)
STREAMS = (
    b'data: {"a": 1}\n\nevent: error\r\ndata: x\r\rdata: [DONE]\n\n: ping\n',
    b'\xef\xbb\xbf{"choices": []}',
    b'{"a": 1}\n{"b": 2}\n',
    b"error: {}\nid: 1\nretry: 2\nwhat is this\n",
)
ASKED: tuple[dict[str, Any], ...] = (
    {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "temperature": 0.5,
        "enable_code_interpreter": True,
    },
    {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]},
        ],
        "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}],
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
    },
    {
        "model": "m",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "parameters": {"enable_thinking": True, "plugins": {"code_interpreter": {}}},
    },
)  # fmt: skip
"""Requests of our own, one a dialect."""


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
    "slices": Target(read_in_slices, [seed[1:] for seed in _message_seeds()]),
    "uploads": Target(read_upload, [bytes([9, 30, 2, 0]) + form for form in FORMS]),
    "events": Target(read_events, [bytes([5, 1, 0, 9]) + stream for stream in STREAMS]),
    "requests": Target(
        read_request,
        [
            bytes([number]) + json.dumps(asked).encode()
            for number, asked in itertools.product(range(len(PARSERS)), ASKED)
        ],
    ),
    "notebooks": Target(
        read_notebook,
        [
            b'\0{"header":{"msg_type":"a"},"content":{},"channel":"shell"}',
            b"\1" + struct.pack("<7Q", 6, 56, 61, 77, 79, 81, 83) + b'shell{"msg_type":"a"}{}{}{}',
            b"\2" + struct.pack("!2I", 1, 8) + b'{"header":{"msg_type":"a"},"content":{}}',
        ],
    ),
    "values": Target(
        read_value,
        [b"\0" + text for text in (b"[1,2.5,null]", b'{"a":["x",{"b":true}]}', b"NaN", b"[[[]]]")],
    ),
}
