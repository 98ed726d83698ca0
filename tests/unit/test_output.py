"""HeadTailBuffer and StreamDecoder: any split gives the same text, in flat memory."""

import itertools
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.outcome import StreamCut
from sandbox.session.runs.output import Decoded, HeadTailBuffer, StreamDecoder

MARK = re.compile(r"\n\.\.\. \[(\d+) bytes left out\] \.\.\.\n")


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def filled(kept_bytes: int, chunks: list[bytes]) -> HeadTailBuffer:
    standby = HeadTailBuffer(kept_bytes)
    for chunk in chunks:
        standby.add(chunk)
    return standby


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


def test_output_that_fits_comes_back_whole():
    standby = filled(10, [b"01234", b"56789"])
    assert standby.text() == "0123456789"
    assert standby.cut == StreamCut(kept_bytes=10, dropped_bytes=0)


def test_of_longer_output_head_and_tail_stay_and_a_mark_counts_the_rest():
    standby = filled(10, [b"0123456789abcdefghij"])
    assert standby.text() == "01234\n... [10 bytes left out] ...\nfghij"
    assert (standby.total, standby.kept, standby.dropped) == (20, 10, 10)
    assert standby.raw() == b"01234fghij"


def test_nothing_written_is_empty_text():
    standby = HeadTailBuffer(10)
    assert (standby.text(), standby.total, standby.had_invalid) == ("", 0, False)


def test_with_nothing_to_keep_all_is_counted():
    standby = filled(0, [b"abc", b"de"])
    assert standby.text() == "\n... [5 bytes left out] ...\n"
    assert standby.cut == StreamCut(kept_bytes=0, dropped_bytes=5)


def test_a_cut_through_characters_leaves_them_out_whole():
    standby = filled(10, ["€€€€€€".encode()])
    assert standby.text() == "€\n... [12 bytes left out] ...\n€"
    assert not standby.had_invalid


def test_invalid_bytes_are_replaced_in_the_text_and_kept_in_the_raw_bytes():
    standby = filled(10, [b"a\xffb"])
    assert standby.text() == "a\ufffdb"
    assert standby.had_invalid
    assert standby.raw() == b"a\xffb"


@given(data=st.binary(max_size=300), kept=st.integers(0, 200), cuts=CUTS)
def test_any_split_of_the_stream_gives_the_same(data, kept, cuts):
    whole, parts = filled(kept, [data]), filled(kept, split(data, cuts))
    assert parts.text() == whole.text()
    assert parts.raw() == whole.raw()
    assert parts.cut == whole.cut


@given(data=st.binary(max_size=300), kept=st.integers(0, 200), cuts=CUTS)
def test_what_is_kept_is_the_two_ends_and_every_byte_is_counted(data, kept, cuts):
    standby = filled(kept, split(data, cuts))
    raw = standby.raw()
    assert len(raw) == standby.kept <= kept
    assert standby.kept + standby.dropped == standby.total == len(data)
    assert any(data.startswith(raw[:n]) and data.endswith(raw[n:]) for n in range(len(raw) + 1))
    # At most three bytes are given up at each of the two edges.
    assert standby.kept >= min(kept, len(data)) - 6


@given(text=st.text(max_size=100), kept=st.integers(0, 200), cuts=CUTS)
def test_whole_characters_go_in_and_whole_characters_come_out(text, kept, cuts):
    data = text.encode()
    standby = filled(kept, split(data, cuts))
    assert not standby.had_invalid
    if standby.dropped:
        head, count, tail = MARK.split(standby.text(), maxsplit=1)
        assert int(count) == standby.dropped
        assert text.startswith(head)
        assert text.endswith(tail)
    else:
        assert standby.text() == text


@pytest.mark.parametrize("chunk", [b"x" * 65_536, b"x" * 1000, memoryview(b"x" * 4096)])
def test_memory_stays_flat_whatever_is_written(chunk):
    kept = 64 * 1024
    standby = HeadTailBuffer(kept)
    tracemalloc.start()
    try:
        for _ in range(500):
            standby.add(chunk)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # bytearray grows in steps of an eighth and holds old and new while it moves.
    assert peak < 3 * kept + 2 * len(chunk)
    assert standby.total == 500 * len(chunk)


@given(data=st.binary(max_size=100), cuts=CUTS)
def test_streamed_text_is_the_text_of_the_whole(data, cuts):
    decoder = StreamDecoder()
    pieces = [*(decoder.feed(chunk) for chunk in split(data, cuts)), decoder.finish()]
    assert "".join(piece.text for piece in pieces) == data.decode(errors="replace")
    assert b"".join(bytes_of(piece) for piece in pieces) == data
    assert all(piece.raw is None or piece.text.encode() != piece.raw for piece in pieces)


def bytes_of(piece: Decoded) -> bytes:
    return piece.text.encode() if piece.raw is None else piece.raw


def test_a_character_split_by_two_chunks_is_streamed_whole():
    decoder = StreamDecoder()
    first, second = "é".encode()[:1], "é".encode()[1:]
    pieces = decoder.feed(first), decoder.feed(second), decoder.finish()
    assert pieces == (("", None), ("é", None), ("", None))
