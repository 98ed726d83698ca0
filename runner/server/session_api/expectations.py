"""Expectations: how many sessions the boxes of clients will likely open soon."""

import asyncio
from collections.abc import Callable

from runner.errors import RequestError
from runner.server.accounts import Account

LAPSE_S = 150.0
"""An expectation is forgotten by then, unless it is told again: a client may be gone."""
BOXES_MOST = 64


class Expectations:
    """What each box of each key expects; `expect` is the engine's."""

    def __init__(self, expect: Callable[[int], None]) -> None:
        self._expect = expect
        self._told: dict[tuple[str, str], tuple[int, asyncio.TimerHandle]] = {}

    def tell(self, account: Account, box: str, sessions: int) -> int:
        """Take what `box` expects from now on, within what its key may have; how many it is."""
        key = (account.owner, box)
        self._forget(key)
        mine = [count for (owner, _), (count, _) in self._told.items() if owner == account.owner]
        kept = min(sessions, account.settings.sessions - sum(mine))
        if kept <= 0:
            return 0
        if len(mine) >= BOXES_MOST:
            raise RequestError("concurrency", f"This key has {BOXES_MOST} boxes that expect some.")
        timer = asyncio.get_running_loop().call_later(LAPSE_S, self._forget, key)
        self._told[key] = (kept, timer)
        self._expect(kept)
        return kept

    def _forget(self, key: tuple[str, str]) -> None:
        found = self._told.pop(key, None)
        if found is not None:
            found[1].cancel()
            self._expect(-found[0])

    def close(self) -> None:
        """Forget all."""
        for key in list(self._told):
            self._forget(key)
