"""Standard output of a guest: lines at once, floods in blocks, and of Python's own class."""

import io
import os
import signal
from collections.abc import Iterator

import pytest

from sandbox.guest.display.streams import FLOOD_LINES, TICK, Stdout

PIPE_BYTES = 1 << 16


class Pipe:
    """A guest's standard output, and the other end of the pipe that it leads to."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)
        self.stdout = Stdout(self.write)

    def seen(self) -> str:
        """What has arrived since the last look."""
        try:
            return os.read(self._read, PIPE_BYTES).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        self.stdout.settle()
        os.close(self._read)
        os.close(self.write)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    handler = signal.getsignal(TICK)
    made = Pipe()
    yield made
    made.close()
    signal.signal(TICK, handler)


def test_a_snippet_prints_to_the_class_that_python_would_make(pipe: Pipe) -> None:
    assert type(pipe.stdout.stream) is io.TextIOWrapper
    assert (pipe.stdout.stream.line_buffering, pipe.stdout.stream.seekable()) == (True, False)


def test_a_line_arrives_when_it_is_whole(pipe: Pipe) -> None:
    pipe.stdout.stream.write("one\ntw")
    assert pipe.seen() == "one\ntw"
    pipe.stdout.stream.write("o")
    assert pipe.seen() == ""
    pipe.stdout.stream.write("\n")
    assert pipe.seen() == "o\n"


def test_what_a_flood_has_collected_is_written_when_it_settles(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.guest.display.streams.FLOOD_S", 3600.0)
    for number in range(2 * FLOOD_LINES):
        pipe.stdout.stream.write(f"{number}\n")
    pipe.stdout.collect()
    pipe.seen()
    pipe.stdout.stream.write("late\n")
    assert pipe.seen() == ""
    pipe.stdout.settle()
    assert pipe.seen() == "late\n"
    pipe.stdout.stream.write("a line again\n")
    assert pipe.seen() == "a line again\n"


def test_a_closed_stream_says_so_and_refuses_more(pipe: Pipe) -> None:
    stream = pipe.stdout.stream
    assert (stream.closed, stream.buffer.closed) == (False, False)
    stream.write("the last")
    stream.close()
    assert pipe.seen() == "the last"
    assert (stream.closed, stream.buffer.closed) == (True, True)
    with pytest.raises(ValueError, match="closed file"):
        stream.write("more")
