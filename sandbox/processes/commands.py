"""Commands of one worker: started by its init, told apart by number, each with its end."""

import asyncio
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.errors import SessionLost
from sandbox.processes.host_channel import HostChannel
from sandbox.protocol.messages import (
    CommandEnded,
    CommandStarted,
    EndSpare,
    Exec,
    SignalCommand,
    SpareEnded,
)


@dataclass(eq=False)
class RunningCommand:
    """A command from `Exec` to `CommandEnded`."""

    number: int
    pid: int = 0
    """As the session's pid namespace numbers it; 0 until it was started."""
    ended: asyncio.Future[CommandEnded] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class CommandTable:
    """What init was asked to start and has not ended yet."""

    def __init__(self, control: HostChannel) -> None:
        self._control = control
        self._numbers = itertools.count(1)
        self._running: dict[int, RunningCommand] = {}
        self._started = 0
        """How many since the last snippet: from the second on, one more is likely."""
        self._is_beside_snippet = False
        self._may_have_spare = False
        """Whether init may have readied a process for a next command."""
        self._spare_ended: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
    ) -> RunningCommand:
        """Have init start `argv`; `streams` are its stdin, stdout and stderr, closed here."""
        command = RunningCommand(next(self._numbers))
        self._running[command.number] = command
        self._started += 1
        more_follow = self._started > 1 and not self._is_beside_snippet
        self._may_have_spare |= more_follow
        order = Exec(command.number, list(argv), cwd, dict(env), more_follow)
        try:
            self._control.send(order, streams)
        except BaseException:
            del self._running[command.number]
            raise
        finally:
            for fd in streams:
                os.close(fd)
        if not self._control.is_open:
            self.give_up()
        return command

    async def begin_snippet(self) -> None:
        """Have no process readied for a next command, until `end_snippet`."""
        self._is_beside_snippet = True
        self._started = 0
        if self._may_have_spare and self._control.is_open:
            self._spare_ended = asyncio.get_running_loop().create_future()
            self._control.send(EndSpare())
            if self._control.is_open:  # Else init is gone, and its processes with it.
                await self._spare_ended

    def end_snippet(self) -> None:
        """Have processes readied again, where commands follow each other from now on."""
        self._is_beside_snippet = False
        self._started = 0

    def signal(self, command: RunningCommand, number: int, *, tree: bool) -> None:
        """Send a signal to `command`, or to all that descends from it; nothing once it ended."""
        if command.number in self._running:
            self._control.send(SignalCommand(command.number, number, tree))

    def hear(self, message: CommandStarted | CommandEnded | SpareEnded) -> None:
        """Take what init says of a command."""
        if isinstance(message, SpareEnded):
            self._note_spare_ended()
            return
        command = self._running.get(message.id)
        if command is None:
            return
        if isinstance(message, CommandStarted):
            command.pid = message.pid
            return
        del self._running[message.id]
        if not command.ended.done():
            command.ended.set_result(message)

    def give_up(self) -> None:
        """End every command: init is gone."""
        self._note_spare_ended()
        running, self._running = self._running, {}
        for command in running.values():
            if not command.ended.done():
                command.ended.set_exception(SessionLost("its processes ended"))
                command.ended.exception()  # A command that is not waited for is no error.

    def _note_spare_ended(self) -> None:
        self._may_have_spare = False
        if self._spare_ended is not None and not self._spare_ended.done():
            self._spare_ended.set_result(None)
