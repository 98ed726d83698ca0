"""Large messages read in slices: the same as in one go, bounded, and never for long at a time."""

import json
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol import slices
from sandbox.protocol.codec import SPECS, MessageError
from sandbox.protocol.frames import Frame
from sandbox.protocol.messages import Display, Message, pack, unpack
from sandbox.protocol.slices import unpack_in_slices

KIND = SPECS[Display].kind


def read(frame: Frame) -> tuple[Message, int]:
    """The message, and how many pauses there were."""
    reading = unpack_in_slices("from_guest", frame)
    pauses = 0
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            return stop.value, pauses
        pauses += 1


def frame_of(message: Message) -> Frame:
    return Frame(KIND, pack(message)[5:])


TEXTS = st.text(
    alphabet=st.sampled_from('a\\"/u0d8\n\x00é\u2028\ud800\udc00\ud83d\U0001f600'), max_size=60
)


@given(
    bundle=st.dictionaries(TEXTS, TEXTS, max_size=4),
    metadata=st.dictionaries(TEXTS, st.none() | TEXTS | st.integers(-9, 9), max_size=3),
    size=st.integers(13, 40),
)
def test_any_message_is_the_same_whatever_its_slices(
    bundle: dict[str, str], metadata: dict[str, str | int | float | bool | None], size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_BYTES", size)
        frame = frame_of(Display("n", bundle, metadata))
        assert read(frame)[0] == unpack("from_guest", frame)


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_bytes_do_more_than_the_other_reader_would(body: bytes) -> None:
    frame = Frame(KIND, body)
    try:
        expected = unpack("from_guest", frame)
    except MessageError:
        with pytest.raises(MessageError):
            read(frame)
    else:
        if body.isascii():
            assert read(frame)[0] == expected


@pytest.mark.parametrize(
    "text",
    ["\n" * 6_000_000, "\\" * 6_000_000, '"' * 6_000_000, "\U0001f600" * 1_000_000],
    ids=["line ends", "backslashes", "quotes", "wide"],
)
def test_the_largest_text_is_read_with_pauses(text: str) -> None:
    frame = frame_of(Display("n", {"text/plain": text}, {}))
    times: list[float] = []
    message = read_timed(frame, times)
    assert isinstance(message, Display)
    assert message.bundle["text/plain"] == text
    assert max(times) < 0.05


def read_timed(frame: Frame, times: list[float]) -> Message:
    """The message; `times` gets the processor time of each slice."""
    reading = unpack_in_slices("from_guest", frame)
    while True:
        began = time.thread_time()
        try:
            next(reading)
        except StopIteration as stop:
            message: Message = stop.value
            return message
        finally:
            times.append(time.thread_time() - began)


@pytest.mark.parametrize("item", ["[],", "{},", '"ab",', "1,", '"\\"",'])
def test_a_body_that_would_grow_in_its_reader_is_refused(item: str) -> None:
    many = item * (2 * 1024 * 1024 // len(item))
    body = f'{{"nonce":"","bundle":{{}},"metadata":[{many}1]}}'
    with pytest.raises(MessageError, match="body is not JSON"):
        read(Frame(KIND, body.encode()))


@pytest.mark.parametrize(
    ("texts", "is_over"),
    [
        ({"a": "x" * 1000}, True),
        ({"a": "x" * 900}, False),
        ({"a": "x" * 400, "b": "x" * 700}, True),
        ({"a": "x" * 300 + "\U0001f600"}, True),
    ],
)
def test_texts_take_no_more_than_the_room_that_there_is(
    texts: dict[str, str], is_over: bool
) -> None:
    reading = unpack_in_slices("from_guest", frame_of(Display("n", texts, {})), 999)
    if is_over:
        with pytest.raises(slices.OverRoom, match="more memory than it may"):
            deque(reading)
    else:
        deque(reading)


def test_a_wide_character_does_not_make_a_text_larger_than_it_may_be() -> None:
    body = json.dumps(
        {"nonce": "", "bundle": {"a": "a" * 14_000_000 + "\U0001f600"}, "metadata": {}}
    )
    with pytest.raises(MessageError, match="more memory than it may"):
        read(Frame(KIND, body.encode()))


@pytest.mark.parametrize("body", [b"", b'"', b'{"a', b"[" * 100_000, b'{"nonce":"\\u12', b"\\"])
def test_a_broken_body_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError):
        read(Frame(KIND, body))
