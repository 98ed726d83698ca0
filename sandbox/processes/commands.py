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
        self.has_spare = False
        """Whether a process that init readied for a next command may be in the session's group."""

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
        self.has_spare = self._started > 1
        order = Exec(command.number, list(argv), cwd, dict(env), self.has_spare)
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

    def end_spare(self) -> None:
        """End the process that init readied for a next command: none lives beside a snippet."""
        if self.has_spare:
            self._control.send(EndSpare())
        self._started = 0

    def signal(self, command: RunningCommand, number: int, *, tree: bool) -> None:
        """Send a signal to `command`, or to all that descends from it; nothing once it ended."""
        if command.number in self._running:
            self._control.send(SignalCommand(command.number, number, tree))

    def hear(self, message: CommandStarted | CommandEnded | SpareEnded) -> None:
        """Take what init says of a command."""
        if isinstance(message, SpareEnded):
            self.has_spare = self._started > 1  # One may have been asked for since.
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
        running, self._running = self._running, {}
        for command in running.values():
            if not command.ended.done():
                command.ended.set_exception(SessionLost("its processes ended"))
                command.ended.exception()  # A command that is not waited for is no error.
