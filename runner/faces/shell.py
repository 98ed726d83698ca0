"""What faces that run commands have in common."""

import signal
import uuid

from sandbox import ExecResult

TIMED_OUT = 124
"""What timeout(1) exits with."""


def status_of(result: ExecResult) -> int:
    """The exit status as a shell has it: 128 and the signal's number for what a signal ended."""
    if result.exit_code is not None:
        return result.exit_code
    return 128 + int(signal.Signals[result.signal]) if result.signal else 1


def is_cut(result: ExecResult) -> bool:
    """Whether some of what it wrote was left out."""
    cut = result.truncated
    return bool(cut.stdout.dropped_bytes or cut.stderr.dropped_bytes)


def new_name() -> str:
    """A name for a session, which frameworks that keep several tell them apart by."""
    return f"cellblock-{uuid.uuid4().hex[:12]}"
