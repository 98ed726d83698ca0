"""What faces that run commands have in common."""

import signal
import uuid

from sandbox import ExecResult

TIMED_OUT = 124
"""What timeout(1) exits with."""


NOT_KEPT = "\n[{count} bytes were left out of the middle of a stream]\n"
LEFT_OUT = "\n[... {count} characters left out ...]\n"


def status_of(result: ExecResult) -> int:
    """The exit status as a shell has it: 128 and the signal's number for what a signal ended.

    A command that wrote too much and ended before it was killed has the status of one that was.
    """
    if result.timed_out:
        return TIMED_OUT
    if result.limit is not None and not result.exit_code:
        return 128 + signal.SIGKILL
    if result.exit_code is not None:
        return result.exit_code
    return 128 + int(signal.Signals[result.signal]) if result.signal else 1


def ending_of(result: ExecResult) -> str:
    """How it ended, in a few words for a model."""
    status = f"exit {status_of(result)}"
    if result.limit is not None:
        return f"{status}: ended, for it went over its {result.limit}"
    return status if result.signal is None else f"{status}: ended by {result.signal}"


def said_by(result: ExecResult, chars: int) -> str:
    """What it wrote to both streams, in `chars` characters; says what was left out of it."""
    said = result.text + result.stderr.decode("utf-8", "replace")
    cut = result.truncated
    if left_out := cut.stdout.dropped_bytes + cut.stderr.dropped_bytes:
        return shown(said, chars) + NOT_KEPT.format(count=left_out)
    return shown(said, chars)


def shown(text: str, chars: int) -> str:
    """`text`, or its beginning and its end with a count of what is left out between them."""
    if len(text) <= chars:
        return text
    room = max(0, chars - len(LEFT_OUT.format(count=len(text))))
    head, tail = room - room // 3, room // 3
    told = LEFT_OUT.format(count=len(text) - room)
    return text[:head] + told + text[len(text) - tail :]


def is_cut(result: ExecResult) -> bool:
    """Whether some of what it wrote was left out."""
    cut = result.truncated
    return bool(cut.stdout.dropped_bytes or cut.stderr.dropped_bytes)


def new_name() -> str:
    """A name for a session, which frameworks that keep several tell them apart by."""
    return f"cellblock-{uuid.uuid4().hex[:12]}"
