"""How long a session lives: frozen while idle, expired at its deadline, its files kept a while."""

import asyncio
import time
from collections.abc import Callable

from sandbox.errors import PolicyError
from sandbox.policy.arguments import check_number

FREEZE_AFTER_S = 1.0
RETENTION_S = 600.0
SECONDS_RIGHT = "Give seconds"


class Expiry:
    """Timers of one session. The session says when it works and rests; this calls back.

    `freeze` is called once `FREEZE_AFTER_S` after work ended, `thaw` before the next; `expire` at
    the deadline, or when the work that is under way then has ended; `forget` after `retention_s`
    more.
    """

    def __init__(
        self,
        *,
        ttl_s: float | None,
        retention_s: float,
        freeze: Callable[[], None],
        thaw: Callable[[], None],
        expire: Callable[[], None],
        forget: Callable[[], None],
        freezes: bool = True,
    ) -> None:
        for name, value in (("ttl_s", ttl_s), ("retention_s", retention_s)):
            if value is not None:
                check_number(name, value, SECONDS_RIGHT)
            if value is not None and not 0 <= value < float("inf"):
                raise PolicyError(name, f"is {value}", "It must be a number of seconds")
        self._retention_s = retention_s
        self._freeze = freeze
        self._thaw = thaw
        self._expire = expire
        self._forget = forget
        self._freezes = freezes
        self._ttl_s = ttl_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._idle_since = 0.0
        self._is_frozen = False
        self._at_work = 0
        """How many calls and commands are under way."""
        self._is_overdue = False
        self.expires_at: float | None = None
        """Seconds since the epoch; None for a session without a deadline."""

    def begin(self) -> None:
        """Start the clock: the session is open."""
        self._loop = asyncio.get_running_loop()
        if self._ttl_s is not None:
            self.extend(self._ttl_s)
        self.rest()

    def extend(self, ttl_s: float) -> None:
        """Put the deadline `ttl_s` seconds from now."""
        check_number("ttl_s", ttl_s, SECONDS_RIGHT)
        if not 0 <= ttl_s < float("inf"):
            raise PolicyError("ttl_s", f"is {ttl_s}", "It must be a number of seconds")
        self._ttl_s = ttl_s
        self._is_overdue = False
        self.expires_at = time.time() + ttl_s
        self._after("expire", ttl_s, self._on_deadline)

    def work(self) -> None:
        """Count something that the session does from now on: let its processes go on."""
        self._at_work += 1
        if self._is_frozen:
            self._is_frozen = False
            self._thaw()

    def rest(self) -> None:
        """Count off something that the session has done; each `work` has one `rest`."""
        self._at_work = max(0, self._at_work - 1)
        if self._at_work:
            return
        if self._is_overdue:
            self._on_deadline()
        elif self._loop is not None and self._freezes:
            self._idle_since = self._loop.time()
            # One that runs already is put off when it is due: work comes often, and is short.
            if "freeze" not in self._timers:
                self._after("freeze", FREEZE_AFTER_S, self._on_idle)

    def retain(self) -> None:
        """Keep the files of a session that is over for the retention time."""
        self._cancel("freeze")
        self._cancel("expire")
        self._after("forget", self._retention_s, self._forget)

    def end(self) -> None:
        """Stop all timers: the session is closed."""
        for name in list(self._timers):
            self._cancel(name)

    def _on_idle(self) -> None:
        assert self._loop is not None
        del self._timers["freeze"]
        if self._at_work:
            return
        left_s = self._idle_since + FREEZE_AFTER_S - self._loop.time()
        if left_s > 0:
            self._after("freeze", left_s, self._on_idle)
        else:
            self._is_frozen = True
            self._freeze()

    def _on_deadline(self) -> None:
        if self._at_work:
            self._is_overdue = True
        else:
            self._expire()

    def _after(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        self._cancel(name)
        if self._loop is not None:
            self._timers[name] = self._loop.call_later(delay_s, callback)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
