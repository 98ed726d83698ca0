"""Snapshots: branches of sandboxes that run nothing, from which new sandboxes begin.

Each is a session of its key, counts as one, and like one ends when it was idle for too long.
"""

import time

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.e2b.sandboxes import E2bSandbox, Sandboxes, Wanted
from runner.server.live.session_table import Held, SessionTable

PREFIX = "snap"


class Snapshot:
    """One snapshot, and the sandbox that it is of."""

    def __init__(self, held: Held, source: E2bSandbox, name: str) -> None:
        self.held = held
        self.source = source
        self.id = PREFIX + held.id.partition("_")[2]
        self.name = name
        self.account = source.account

    def json(self) -> dict[str, object]:
        """Return the snapshot as its owner sees it."""
        return {"snapshotID": self.id, "names": [self.name] if self.name else []}


class Snapshots:
    """All snapshots, by id."""

    def __init__(self, table: SessionTable, sandboxes: Sandboxes) -> None:
        self._table = table
        self._sandboxes = sandboxes
        self._all: dict[str, Snapshot] = {}

    async def take(self, sandbox: E2bSandbox, name: str) -> Snapshot:
        """Keep a sandbox as it is. Raises RequestError, SandboxError."""
        [held] = await self._table.branch(sandbox.held, sandbox.account, 1)
        made = Snapshot(held, sandbox, name)
        self._all[made.id] = made
        return made

    def of(self, owner: str) -> list[Snapshot]:
        """The owner's snapshots that still are, oldest first."""
        for one in list(self._all.values()):
            if not one.held.session.is_live:
                del self._all[one.id]
        return [one for one in self._all.values() if one.account.owner == owner]

    def find(self, owner: str, snapshot_id: str) -> Snapshot:
        """The owner's snapshot, by its id or name. Raises RequestError."""
        for one in self.of(owner):
            if snapshot_id == one.id or (one.name and snapshot_id == one.name):
                return one
        raise RequestError("not_found", f"Snapshot {snapshot_id[:100]!r} was not found.")

    async def begin(self, account: Account, wanted: Wanted) -> E2bSandbox:
        """A new sandbox that goes on from a snapshot. Raises RequestError, SandboxError."""
        found = self.find(account.owner, wanted.template)
        found.held.active_at = time.monotonic()
        [held] = await self._table.branch(found.held, account, 1)
        return await self._sandboxes.adopt(held, found.source, wanted)

    async def remove(self, snapshot: Snapshot) -> None:
        """End a snapshot; sandboxes that began from it go on."""
        self._all.pop(snapshot.id, None)
        await self._table.end(snapshot.held)
