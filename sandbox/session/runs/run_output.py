"""What one snippet writes, displays and is denied, within what a run may keep."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable

from sandbox import events
from sandbox.outcome import Denial
from sandbox.policy.limits import Limits
from sandbox.processes.guest_process import OutputPipes
from sandbox.session.runs.output import Decoded, HeadTailBuffer, StreamDecoder

READ_BYTES = 1 << 18
DRAIN_BYTES = 1 << 21
"""More than a pipe holds: what was written before the end is read, a later flood is not."""
DISPLAYS_CAP = 256
ENCODED_HERE = 1_000_000
"""Characters; a longer text would keep the loop for milliseconds only to be counted."""
DENIALS_CAP = 200
LEAST_DISPLAY_BYTES = 64
"""What a display counts as at least: an empty one costs time too."""

Sink = Callable[[events.Event], None]


class RunOutput:
    """Reads the two streams of a session while a snippet runs, and keeps what it shows."""

    def __init__(self, pipes: OutputPipes, limits: Limits, sink: Sink | None) -> None:
        self.stdout = HeadTailBuffer(limits.kept_bytes)
        self.stderr = HeadTailBuffer(limits.kept_bytes)
        self.displays: list[dict[str, str]] = []
        self.denials: list[Denial] = []
        self._pipes = pipes
        self._sink = sink
        self._decoders = (StreamDecoder(), StreamDecoder()) if sink is not None else None
        self._places: dict[int, int] = {}
        """Where the display of a number stands among them."""
        self._displayed_bytes = 0
        self._is_listening = False

    @property
    def produced_bytes(self) -> int:
        """What the snippet has written and displayed."""
        return self.stdout.total + self.stderr.total + self._displayed_bytes

    @property
    def written_bytes(self) -> int:
        return self.stdout.total + self.stderr.total

    def tell(self, event: events.Event) -> None:
        """Give `event` to the caller of `stream`, if there is one."""
        if self._sink is not None:
            self._sink(event)

    def listen(self, on_output: Callable[[], None]) -> None:
        """Read what is written from now on as it comes; `on_output` is called after each read."""
        self._is_listening = True
        loop = asyncio.get_running_loop()
        for index, fd in enumerate((self._pipes.stdout, self._pipes.stderr)):
            loop.add_reader(fd, self._on_readable, index, on_output)

    def finish(self) -> None:
        """Read what was written before the end, and stop listening."""
        pipes = self._pipes
        if self._is_listening and pipes.is_open:
            loop = asyncio.get_running_loop()
            loop.remove_reader(pipes.stdout)
            loop.remove_reader(pipes.stderr)
        for fd in pipes.unread():
            index = 0 if fd == pipes.stdout else 1
            left = DRAIN_BYTES
            with contextlib.suppress(BlockingIOError):
                while left > 0 and (data := os.read(fd, READ_BYTES)):
                    self._take(index, data)
                    left -= len(data)
        if self._decoders is not None:
            for index, decoder in enumerate(self._decoders):
                self._tell_text(index, decoder.finish())

    def count_display(self, bundle: dict[str, str]) -> None:
        """Count the bytes of `bundle`, which `show` keeps if they are within the limit."""
        self._displayed_bytes += LEAST_DISPLAY_BYTES + sum(map(_size, bundle.values()))

    def count_lost(self, least_bytes: int) -> None:
        """Count a display of more than `least_bytes` that is not kept."""
        self._displayed_bytes += least_bytes + LEAST_DISPLAY_BYTES

    def show(self, bundle: dict[str, str], number: int) -> bool:
        """Keep `bundle`, in place of one of that number; False if there are too many."""
        place = self._places.get(number)
        if place is not None:
            self.displays[place] = bundle
            self.tell(events.Displayed(bundle, place))
            return True
        if len(self.displays) >= DISPLAYS_CAP:
            return False
        self._places[number] = len(self.displays)
        self.displays.append(bundle)
        self.tell(events.Displayed(bundle))
        return True

    def clear(self) -> None:
        """Forget what was displayed."""
        self._displayed_bytes += LEAST_DISPLAY_BYTES
        self.displays.clear()
        self._places.clear()
        self.tell(events.Cleared())

    def deny(self, denial: Denial) -> None:
        """Keep `denial`, unless there are very many."""
        if len(self.denials) < DENIALS_CAP:
            self.denials.append(denial)

    def _on_readable(self, index: int, on_output: Callable[[], None]) -> None:
        fd = (self._pipes.stdout, self._pipes.stderr)[index]
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(fd)
            return
        self._take(index, data)
        on_output()

    def _take(self, index: int, data: bytes) -> None:
        (self.stdout, self.stderr)[index].add(data)
        if self._decoders is not None:
            self._tell_text(index, self._decoders[index].feed(data))

    def _tell_text(self, index: int, found: Decoded) -> None:
        if found.text:
            self.tell(events.Stderr(*found) if index else events.Stdout(*found))


def _size(text: str) -> int:
    """Bytes of `text` as UTF-8, or those that it takes in memory where they are more."""
    if text.isascii():
        return len(text)
    held = sys.getsizeof(text)
    if len(text) > ENCODED_HERE:
        return held
    return max(held, len(text.encode("utf-8", "surrogatepass")))
