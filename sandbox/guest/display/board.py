"""What a snippet has displayed so far, within caps: of too much, the last is what stays.

Theory of operation
===================

The host has a list of displays. One with a new number is appended to it, one with a known number
takes the place of that, and a clearing empties it: what is sent twice does no harm. A loop may do
any of that a thousand times, so the board holds what the list should be. It sends changes at once
while they are few, and when they are many the state that they lead to: at most every `PAUSE_S`,
and at the end of the snippet.

The first `FIRST` displays have a place in the list as they come. Of what follows, the last `LAST`
wait for the end of the snippet. Characters are capped too: the oldest displays give way.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from threading import RLock
from time import monotonic
from typing import Protocol

from sandbox.guest.display.bundles import Bundle, MiB, Scalar

FIRST = 80
LAST = 20
TOTAL_CAP = 20 * MiB
"""Characters of all displays that are kept."""
SENT_AT_ONCE = 200
SENT_CAP = 20 * MiB
"""Changes, and characters in them, that are sent as they come."""
PAUSE_S = 0.25
SHORT_TEXT = 10_000
"""Characters of plain text that stay of a display which gave way."""


class Screen(Protocol):
    """Where displays go: the host's list."""

    def show(self, bundle: dict[str, str], metadata: dict[str, Scalar], number: int) -> None:
        """Put a bundle in place of the one with that number, or append it."""

    def clear(self) -> None:
        """Empty the list."""


class _Slot:
    """One display. `is_sent`: the host has it as it is now; `was_sent`: it has had one."""

    __slots__ = ("bundle", "cost", "display_id", "is_sent", "number", "was_sent")

    def __init__(self, number: int, bundle: Bundle, display_id: str) -> None:
        self.number = number
        self.display_id = display_id
        self.was_sent = False
        self.put(bundle)

    def put(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.cost = bundle.cost
        self.is_sent = False


class Board:
    """The displays of the snippet that runs now."""

    def __init__(self, screen: Screen, before_sending: Callable[[], None]) -> None:
        self._screen = screen
        self._before_sending = before_sending
        self._lock = RLock()
        """Any thread of the snippet may display."""
        self.reset()

    def reset(self) -> None:
        """Begin with a snippet that has shown nothing yet."""
        self._numbers = count()
        self._placed: list[_Slot] = []
        self._waiting: deque[_Slot] = deque()
        self._left_out = 0
        self._total = 0
        self._sent = self._sent_characters = 0
        self._sent_at = 0.0
        self._is_cleared = False
        self._clears_next = False

    def add(self, bundle: Bundle, display_id: str = "") -> None:
        """Add one more display."""
        with self._lock:
            self._add(bundle, display_id)

    def _add(self, bundle: Bundle, display_id: str) -> None:
        self._clear_if_due()
        slot = _Slot(next(self._numbers), bundle, display_id)
        self._make_room(slot)
        if len(self._placed) < FIRST:
            self._placed.append(slot)
        else:
            self._waiting.append(slot)
            if len(self._waiting) > LAST:
                self._total -= self._waiting.popleft().cost
                self._left_out += 1
        self._send_if_few(slot.cost)

    def update(self, bundle: Bundle, display_id: str) -> bool:
        """Put `bundle` in place of all displays with that id; False if there is none."""
        with self._lock:
            self._clear_if_due()
            slots = (*self._placed, *self._waiting)
            found = [slot for slot in slots if slot.display_id == display_id]
            for slot in found:
                self._total -= slot.cost
                slot.put(bundle)
                self._make_room(slot)
            if found:
                self._send_if_few(len(found) * bundle.cost)
            return bool(found)

    def clear(self, *, wait: bool) -> None:
        """Forget all displays; with `wait`, when the next one comes."""
        with self._lock:
            self._clears_next = True
            if not wait:
                self._clear_if_due()
                self._send_if_few(0)

    def finish(self) -> None:
        """Send what has waited: the snippet ends."""
        if self._placed or self._waiting or self._is_cleared:
            with self._lock:
                self._finish()

    def _finish(self) -> None:
        if self._waiting:
            if self._left_out:
                count = "1 display" if self._left_out == 1 else f"{self._left_out} displays"
                kept = f"the first {FIRST} and the last {LAST} of a snippet are kept"
                note = Bundle({"text/plain": f"[{count} left out here: {kept}]"}, {}, False)
                self._placed.append(_Slot(next(self._numbers), note, ""))
            self._placed.extend(self._waiting)
            self._waiting.clear()
        self._send()

    def _clear_if_due(self) -> None:
        if self._clears_next:
            self._clears_next = False
            # What was never sent need not be cleared.
            self._is_cleared = self._is_cleared or any(slot.was_sent for slot in self._placed)
            self._placed.clear()
            self._waiting.clear()
            self._left_out = self._total = 0

    def _make_room(self, new: _Slot) -> None:
        """Count `new`; the oldest of the others give way until all fits."""
        self._total += new.cost
        for slot in (*self._placed, *self._waiting):
            if self._total <= TOTAL_CAP:
                break
            if slot is not new:
                self._total -= slot.cost
                slot.put(_what_stays_of(slot.bundle))
                self._total += slot.cost

    def _send_if_few(self, characters: int) -> None:
        if self._sent_characters + characters > SENT_CAP:
            return
        if self._sent < SENT_AT_ONCE or monotonic() - self._sent_at > PAUSE_S:
            self._send()

    def _send(self) -> None:
        if not self._is_cleared and all(slot.is_sent for slot in self._placed):
            return
        self._before_sending()
        if self._is_cleared:
            self._is_cleared = False
            self._screen.clear()
        for slot in self._placed:
            if not slot.is_sent:
                slot.was_sent = True
                bundle, metadata, _is_rich = slot.bundle
                self._screen.show(bundle, metadata, slot.number)
                slot.is_sent = True
                self._sent_characters += slot.cost
        self._sent += 1
        self._sent_at = monotonic()


def _what_stays_of(bundle: Bundle) -> Bundle:
    """The plain text of `bundle` if it is short, and a note."""
    text = bundle.data.get("text/plain", "")
    others = ", ".join(mime for mime in bundle.data if mime != "text/plain")
    if not others and len(text) <= SHORT_TEXT:
        return bundle
    note = (
        f"[{others or 'display'} left out: {bundle.cost} characters;"
        f" all displays of a snippet may have {TOTAL_CAP}, and later ones came]"
    )
    return Bundle(
        {"text/plain": f"{text}\n{note}" if 0 < len(text) <= SHORT_TEXT else note}, {}, False
    )
