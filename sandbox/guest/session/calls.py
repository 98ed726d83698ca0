"""Calls a function of a preloaded module in place of a snippet, where that is to cost little.

What a snippet is given besides (an echo, a history, the names that it has set, figures) touches
three hundred pages that the session's process must copy, and most programs that are run by the
thousand are over before that is done.
"""

import sys

from sandbox.guest.display import tracebacks
from sandbox.guest.display.tracebacks import Described


def call(function: str, argument: str) -> Described | None:
    """Call `function`, `module:name`, with a text: None at its end, or what it raised.

    Never raises, wherever an interrupt hits.
    """
    try:
        module, _, name = function.partition(":")
        try:
            getattr(sys.modules[module], name)(argument)
        except BaseException as error:  # noqa: BLE001
            return tracebacks.describe(error)
    # Between two lines: an interrupt, or the end of a memory that the function holds.
    except (KeyboardInterrupt, MemoryError, RecursionError) as error:
        return Described(type(error).__name__, "", "", 0)
    return None
