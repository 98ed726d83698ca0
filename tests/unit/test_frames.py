"""Frames: any split of the stream is the same, any garbage is bounded."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol.frames import HEADER, Frame, FrameError, FrameReader, encode

CAP = 64
FRAMES = st.lists(st.builds(Frame, st.integers(0, 255), st.binary(max_size=CAP)), max_size=6)
CUTS = st.lists(st.integers(0, 10_000), max_size=10)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(reader: FrameReader, chunks: list[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


def read_to_the_fault(reader: FrameReader, chunks: list[bytes]) -> tuple[list[Frame], bool]:
    """The frames of `chunks`, and whether a fault ended them."""
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += reader.feed(chunk)
    except FrameError:
        return frames, True
    return frames, False


@given(frames=FRAMES, cuts=CUTS)
def test_frames_come_out_as_they_went_in_whatever_the_split(frames, cuts):
    stream = b"".join(encode(*frame) for frame in frames)
    reader = FrameReader(CAP)
    assert read(reader, split(stream, cuts)) == frames
    assert not reader.is_mid_frame


@given(frames=FRAMES, last=st.binary(max_size=CAP), missing=st.integers(1, CAP + HEADER.size))
def test_an_unfinished_frame_is_held_back_and_known(frames, last, missing):
    tail = encode(7, last)
    beginning = tail[: max(1, len(tail) - missing)]
    reader = FrameReader(CAP)
    assert read(reader, [*(encode(*frame) for frame in frames), beginning]) == frames
    assert reader.is_mid_frame
    assert reader.feed(tail[len(beginning) :]) == [Frame(7, last)]


@given(frames=FRAMES, garbage=st.binary(max_size=40), cuts=CUTS)
def test_what_came_before_a_bad_header_is_given_whatever_the_split(frames, garbage, cuts):
    bad = HEADER.pack(1, CAP + 1) + garbage
    stream = b"".join(encode(*frame) for frame in frames) + bad
    reader = FrameReader(CAP)
    chunks = [*split(stream, cuts), b"", b""]
    assert read_to_the_fault(reader, chunks) == (frames, True)
    with pytest.raises(FrameError):
        reader.feed(b"")


@given(garbage=st.binary(max_size=400), cuts=CUTS)
def test_garbage_gives_frames_within_the_cap_or_an_error(garbage, cuts):
    reader = FrameReader(CAP)
    frames: list[Frame] = []
    try:
        for chunk in split(garbage, cuts):
            frames += reader.feed(chunk)
    except FrameError:
        whole = FrameReader(CAP)
        given, is_over = read_to_the_fault(whole, [garbage, b""])
        assert (given, is_over) == (frames, True)
    else:
        consumed = b"".join(encode(*frame) for frame in frames)
        assert garbage.startswith(consumed)
        assert reader.is_mid_frame == (len(consumed) < len(garbage))
    assert all(len(frame.body) <= CAP for frame in frames)


@given(claim=st.integers(CAP + 1, 2**32 - 1), kind=st.integers(0, 255))
def test_a_claim_above_the_cap_is_refused_before_any_of_its_body(claim, kind):
    with pytest.raises(FrameError, match=f"frame {kind} claims {claim} bytes, the cap is {CAP}"):
        FrameReader(CAP).feed(HEADER.pack(kind, claim))


def test_a_body_of_exactly_the_cap_is_taken():
    body = b"x" * CAP
    assert FrameReader(CAP).feed(encode(1, body)) == [Frame(1, body)]


def test_after_an_error_the_reader_stays_broken():
    reader = FrameReader(CAP)
    with pytest.raises(FrameError):
        reader.feed(HEADER.pack(1, CAP + 1))
    with pytest.raises(FrameError):
        reader.feed(encode(1, b"fine by itself"))


def test_an_empty_body_is_a_frame():
    assert FrameReader(CAP).feed(encode(3, b"")) == [Frame(3, b"")]
