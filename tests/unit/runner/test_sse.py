"""The framing of an endpoint's answer: the same events however the bytes are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.upstream.sse import EventDecoder, ServerEvent, TooLong

ONE, TWO = ServerEvent('{"a":1}'), ServerEvent('{"b":2}')


def decode(data, cuts=()):
    """Events of `data`, which arrives cut at the places `cuts`."""
    decoder, found, at = EventDecoder(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += decoder.feed(data[at:cut])
        at = cut
    return found + decoder.finish()


STREAMS = {  # what it shows: bytes, events
    "plain": (b'data: {"a":1}\n\ndata: {"b":2}\n\n', [ONE, TWO]),
    "no space after the colon": (b'data:{"a":1}\n\ndata:{"b":2}\n\n', [ONE, TWO]),
    "CRLF": (b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\n', [ONE, TWO]),
    "CR alone": (b'data: {"a":1}\r\rdata: {"b":2}\r\r', [ONE, TWO]),
    "comments and pings": (b': hi\n\ndata: {"a":1}\n\n: ping\n\n: ping\n\ndata: {"b":2}\n\n',
                           [ONE, TWO]),
    "ids": (b'id: 1\ndata: {"a":1}\n\nid: 2\n\n: ping\n\nid:3\ndata: {"b":2}\n\n', [ONE, TWO]),
    "retry": (b'retry: 3000\n\ndata: {"a":1}\n\n', [ONE]),
    "event names": (b'event: message\ndata: {"a":1}\n\nevent: error\ndata: no\n\n',
                    [ServerEvent('{"a":1}', "message"), ServerEvent("no", "error")]),
    "a name does not stay": (b'event: ping\n\ndata: {"a":1}\n\n', [ONE]),
    "several lines of data": (b'data: {"a":\ndata: 1}\n\n', [ServerEvent('{"a":\n1}')]),
    "empty data": (b'data:\n\ndata: \n\ndata: {"a":1}\n\n', [ONE]),
    "no empty line at the end": (b'data: {"a":1}\n\ndata: {"b":2}', [ONE, TWO]),
    "a byte order mark": (b'\xef\xbb\xbfdata: {"a":1}\n\n', [ONE]),
    "DashScope's status line": (b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"a":1}\n\n',
                                [ServerEvent('{"a":1}', "result")]),
    "a field named error": (b'error: {"a":1}\n\n', [ServerEvent('{"a":1}', "error")]),
    "a bare object among events": (b'data: {"a":1}\n\n{"b":2}\n', [ONE, TWO]),
    "a whole body": (b'{"a":1}', [ONE]),
    "a body over several lines": (b'{\n "a":\n 1\n}\n', [ServerEvent('{\n "a":\n 1\n}')]),
    "one object a line": (b'{"a":1}\n{"b":2}\n', [ONE, TWO]),
    "a line separator inside": ('data: "a\u2028b\x85c"\n\n'.encode(),
                                [ServerEvent('"a\u2028b\x85c"')]),
    "bytes that are no UTF-8": (b'data: "\xff"\n\n', [ServerEvent('"\ufffd"')]),
    "a page": (b"<html>hello</html>", [ServerEvent("<html>hello</html>", "unreadable")]),
    "words": (b"Internal Server Error", [ServerEvent("Internal Server Error", "unreadable")]),
    "nothing": (b"", []),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_each_stream_is_read_whole_and_byte_by_byte(name):
    data, wanted = STREAMS[name]
    assert decode(data) == wanted
    assert decode(data, range(len(data))) == wanted


LINES = st.sampled_from(
    ["data: {}", 'data: {"x":"é"}', "data:", ": c", "id: 4", "retry: 1", "event: ping", "error: x",
     "{", '{"y":1}', "", "words here", "\ufeff"]
)  # fmt: skip


@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=12), st.data())
def test_any_split_gives_the_same_events(lines, draw):
    data = "".join(line + end for line, end in lines).encode()
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=8))
    assert decode(data, cuts) == decode(data)


@given(st.binary(max_size=200), st.integers(1, 7))
def test_any_bytes_are_read_without_an_exception(data, size):
    assert decode(data, range(0, len(data), size)) == decode(data)


@pytest.mark.parametrize(
    "data", [b"data: " + b"x" * 200, b"data: xxxxxxx\n" * 20, b"[" + b" " * 99]
)
def test_an_event_without_end_is_refused_before_it_is_held(data):
    decoder, fed = EventDecoder(cap_bytes=64), 0
    while fed < 64:
        decoder.feed(data[fed : fed + 8])
        fed += 8
    with pytest.raises(TooLong):
        decoder.feed(data[fed:])


def test_the_head_is_the_first_bytes():
    decoder = EventDecoder()
    decoder.feed(b"a" * 150)
    decoder.feed(json.dumps("b" * 150).encode())
    assert decoder.head == "a" * 150 + '"' + "b" * 49
