"""Sandboxes: sessions of the server's table as E2B's clients know them, with their own end.

Each is a session of its key, as those over REST are: it counts towards the key's, is seen and
ended by operators, and ends when it was idle for as long as the server says, whatever its timeout.
"""

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Mapping
from typing import NamedTuple

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.e2b.commands import Commands
from runner.server.e2b.contexts import Contexts
from runner.server.e2b.files import Told
from runner.server.e2b.forms import NotDone, SandboxGone
from runner.server.e2b.watching import Watchers
from runner.server.http import logs
from runner.server.live.session_table import Held, SessionTable
from sandbox import SandboxError

TIMEOUT_S = 300
"""Of a sandbox whose client names none, as E2B has it."""
LONGEST_S = 24 * 3600
TOKEN_BYTES = 24
TEMPLATES = frozenset({"base", "code-interpreter", "code-interpreter-v1"})
NO_TEMPLATE = (
    "There is no template {name!r} here: templates are images, and a sandbox of this server is"
    " what its policy says. Use 'base', 'code-interpreter-v1' or the id of a snapshot."
)


class Wanted(NamedTuple):
    """What a client asks of a new sandbox, checked."""

    template: str = "base"
    timeout_s: int = TIMEOUT_S
    metadata: Mapping[str, str] = {}
    envs: Mapping[str, str] = {}
    pauses: bool = False
    """Whether it is paused at its end, not killed."""
    resumes: bool = False
    """Whether a request to it ends the pause."""


class E2bSandbox:
    """One sandbox: a held session, its tokens, and when it ends."""

    def __init__(self, held: Held, account: Account, wanted: Wanted) -> None:
        self.held = held
        self.account = account
        self.wanted = wanted
        self.id = held.id.replace("_", "")
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        """Of the services in the sandbox."""
        self.traffic_token = secrets.token_urlsafe(TOKEN_BYTES)
        """Of its ports, which the code interpreter is one of."""
        self.started_at = time.time()
        self.end_at = self.started_at + wanted.timeout_s
        self.is_paused = False
        self.contexts = Contexts(held.session, wanted.envs)
        self.commands = Commands()
        self.watchers = Watchers()
        self.told = Told()

    @property
    def is_there(self) -> bool:
        """Whether the session still is: an operator or the sweep may have ended it."""
        return self.held.session.is_live

    def opens(self, *shown: str) -> bool:
        """Whether one of the tokens that a request shows is this sandbox's."""
        given = [one.encode("utf-8", "surrogateescape") for one in shown]
        known = (self.token.encode(), self.traffic_token.encode())
        return any([hmac.compare_digest(one, own) for one in given for own in known])


class Sandboxes:
    """All sandboxes, by id."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table
        self._all: dict[str, E2bSandbox] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def create(self, account: Account, wanted: Wanted) -> E2bSandbox:
        """Make a sandbox, ready for its first snippet. Raises RequestError, SandboxError."""
        if wanted.template not in TEMPLATES:
            raise NotDone(NO_TEMPLATE.format(name=wanted.template[:100]))
        made = E2bSandbox(await self._table.open(account), account, wanted)
        try:
            made.told.home = await made.contexts.begin()
        except BaseException:
            await self._table.end(made.held)
            raise
        self._add(made)
        return made

    def of(self, owner: str) -> list[E2bSandbox]:
        """Return the owner's sandboxes, oldest first."""
        return [one for one in self.all() if one.account.owner == owner]

    def all(self) -> list[E2bSandbox]:
        """Every sandbox whose session still is, oldest first."""
        for one in list(self._all.values()):
            if not one.is_there:
                self._end_apart(one)
        return list(self._all.values())

    def find(self, owner: str, sandbox_id: str) -> E2bSandbox:
        """Return the owner's sandbox. Raises RequestError."""
        found = self._all.get(sandbox_id)
        if found is None or found.account.owner != owner or not found.is_there:
            message = f"Sandbox {sandbox_id[:100]!r} was not found."
            raise RequestError("not_found", message)
        return found

    def opened(self, sandbox_id: str, *tokens: str) -> E2bSandbox:
        """Return the sandbox that a request to it is for. Raises SandboxGone, RequestError."""
        found = self._all.get(sandbox_id)
        if found is None or not found.is_there:
            raise SandboxGone(sandbox_id)
        if not found.opens(*tokens):
            raise RequestError("key", "The sandbox's access token is missing or is not its own.")
        if found.is_paused:
            if not found.wanted.resumes:
                raise SandboxGone(sandbox_id)
            self.resume(found, found.wanted.timeout_s)
        found.held.active_at = time.monotonic()
        return found

    def is_running(self, sandbox_id: str) -> bool:
        """Whether a sandbox is there and not paused."""
        found = self._all.get(sandbox_id)
        return found is not None and found.is_there and not found.is_paused

    def set_timeout(self, sandbox: E2bSandbox, timeout_s: int) -> None:
        """Let it end so many seconds from now."""
        sandbox.end_at = time.time() + timeout_s
        sandbox.held.active_at = time.monotonic()
        self._time(sandbox)

    def pause(self, sandbox: E2bSandbox) -> None:
        """Let it answer nothing until it is resumed, and not end by its timeout."""
        sandbox.is_paused = True
        sandbox.held.session.interrupt()
        if (timer := self._timers.pop(sandbox.id, None)) is not None:
            timer.cancel()

    def resume(self, sandbox: E2bSandbox, timeout_s: int) -> None:
        """End a pause; of one that runs, only ever lengthen its time."""
        if sandbox.is_paused or sandbox.end_at < time.time() + timeout_s:
            self.set_timeout(sandbox, timeout_s)
        sandbox.is_paused = False

    async def fork(self, sandbox: E2bSandbox, count: int, timeout_s: int) -> list[E2bSandbox]:
        """New sandboxes that go on from it. Raises RequestError, SandboxError."""
        wanted = sandbox.wanted._replace(timeout_s=timeout_s)
        helds = await self._table.branch(sandbox.held, sandbox.account, count)
        made: list[E2bSandbox] = []
        try:
            for held in helds:
                made.append(await self.adopt(held, sandbox, wanted))
        except BaseException:
            # All or none: its client knows no id of those that are there.
            for one in made:
                await self.end(one)
            for held in helds[len(made) + 1 :]:
                await self._table.end(held)
            raise
        return made

    async def adopt(self, held: Held, source: E2bSandbox, wanted: Wanted) -> E2bSandbox:
        """A sandbox of a session that is a branch of that of `source`. Raises SandboxError."""
        made = E2bSandbox(held, source.account, wanted)
        made.told = source.told.copy()
        try:
            made.told.home = await made.contexts.go_on_from(source.contexts)
        except BaseException:
            await self._table.end(held)
            raise
        self._add(made)
        return made

    async def end(self, sandbox: E2bSandbox) -> None:
        """End the sandbox with everything in it."""
        self._forget(sandbox)
        await self._table.end(sandbox.held)

    async def close(self) -> None:
        """Stop the clocks; before the table ends the sessions."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._ending:
            await asyncio.wait(self._ending)

    def _add(self, sandbox: E2bSandbox) -> None:
        self._all[sandbox.id] = sandbox
        self._time(sandbox)

    def _forget(self, sandbox: E2bSandbox) -> None:
        self._all.pop(sandbox.id, None)
        if (timer := self._timers.pop(sandbox.id, None)) is not None:
            timer.cancel()

    def _time(self, sandbox: E2bSandbox) -> None:
        if (timer := self._timers.pop(sandbox.id, None)) is not None:
            timer.cancel()
        loop, left_s = asyncio.get_running_loop(), max(0.0, sandbox.end_at - time.time())
        self._timers[sandbox.id] = loop.call_later(left_s, self._is_due, sandbox)

    def _is_due(self, sandbox: E2bSandbox) -> None:
        if sandbox.wanted.pauses:
            self.pause(sandbox)
        else:
            self._end_apart(sandbox)

    def _end_apart(self, sandbox: E2bSandbox) -> None:
        self._forget(sandbox)
        task = asyncio.get_running_loop().create_task(self._end_quietly(sandbox))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_quietly(self, sandbox: E2bSandbox) -> None:
        try:
            await self.end(sandbox)
        except SandboxError as error:
            # No request waits for it that could be told.
            logs.write("sandbox_end_failed", logging.ERROR, error=str(error)[: logs.ERROR_CHARS])
