"""What every call of a session shares: it counts as use, and its failures become answers."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.live.session_table import Held
from runner.server.routes.session_routes import lost
from runner.server.services import Services
from sandbox import PolicyError, SessionError, ValueNotCarried


@contextmanager
def in_use(held: Held, account: Account) -> Generator[None, None, None]:
    """Count a request of the key, and keep the session from being taken for idle."""
    with account.request():
        held.running += 1
        try:
            yield
        finally:
            held.running -= 1
            held.active_at = time.monotonic()


async def refused(services: Services, held: Held, error: Exception) -> NoReturn:
    """Raise what a client is told of `error`."""
    if isinstance(error, ValueNotCarried):
        raise RequestError("not_found", str(error), param="name") from error
    if isinstance(error, PolicyError):
        raise RequestError("invalid", str(error), param=error.field) from error
    if isinstance(error, SessionError):
        raise await lost(services.sessions, held, error) from error
    raise error


REFUSALS = (ValueNotCarried, PolicyError, SessionError)
"""What `refused` knows."""
