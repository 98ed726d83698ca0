"""Ids: names that cannot be guessed and sort by the time at which they were made.

A list is turned from id to id, so a page can follow one whose last entry is gone by now.
"""

import re
import secrets
import time

TIME_HEX, CHANCE_BYTES = 12, 10
SHAPE = re.compile(r"[a-z]+[_-][0-9a-f]{32}")
_latest_ms = 0


def new_id(prefix: str, joint: str = "_") -> str:
    """Make a fresh id: 48 bits of time, in milliseconds and never going back, and 80 of chance."""
    global _latest_ms
    _latest_ms = max(_latest_ms + 1, time.time_ns() // 1_000_000)
    return f"{prefix}{joint}{_latest_ms:0{TIME_HEX}x}{secrets.token_hex(CHANCE_BYTES)}"


def is_id(text: str) -> bool:
    """Return whether `new_id` could have made `text`."""
    return SHAPE.fullmatch(text) is not None
