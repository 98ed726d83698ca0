"""How many sessions an engine holds, where its user does not say."""

from sandbox.errors import PolicyError
from sandbox.policy.arguments import check_number

POOL_SIZE = 2
SESSIONS_CAP = 64
WAITING_CAP = 256


def check_sizes(*, pool_size: int, max_sessions: int, max_waiting: int) -> None:
    """Raise PolicyError for a number below its least."""
    for name, value, least in (
        ("pool_size", pool_size, 0),
        ("max_sessions", max_sessions, 1),
        ("max_waiting", max_waiting, 0),
    ):
        check_number(name, value, "Give a whole number", kinds=(int,))
        if value < least:
            raise PolicyError(name, f"is {value}", f"It must be at least {least}")
