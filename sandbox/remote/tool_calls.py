"""Calls of this process's functions by a snippet elsewhere: carried out here, answered there.

What comes is no more believed than what a snippet of this machine sends: only functions that were
given can be called, as often as they allow, with what their hints take.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.processes.host_channel import HeldMemory
from sandbox.protocol.messages import ARGUMENTS_CAP, ToolAnswer, ToolCall
from sandbox.remote.relayed_tools import specs_of
from sandbox.session.host_tools import APPROVAL_WITHIN_S, ToolRun, Tools

Answer = Callable[[str, ToolAnswer], Awaitable[None]]
"""Takes the id of a call, as its server numbers it, and the answer."""
LONGEST_WAIT_S = 3 * 3600.0
"""What a server waits for at most."""
MARGIN_S = 30.0
"""A call is waited for there a little longer than it may take here."""


def described(tools: Tools) -> list[dict[str, Any]]:
    """What a server is told of `tools`."""
    rows = []
    for spec in specs_of(tools.specs):
        tool = tools.functions[spec["name"]]
        approval_s = 0.0 if tool.approve is None else APPROVAL_WITHIN_S
        wait_s = min(tool.timeout_s + approval_s + MARGIN_S, LONGEST_WAIT_S)
        rows.append({**spec, "timeout_s": wait_s, "max_calls": tool.max_calls})
    return rows


class RemoteToolRun:
    """The calls of one snippet that runs elsewhere."""

    def __init__(self, tools: Tools, answer: Answer) -> None:
        self._answer = answer
        self._ids: dict[int, str] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._count = 0
        self._run = ToolRun(tools, self, HeldMemory(), lambda _begins: None, lambda: None)

    @property
    def unsent_bytes(self) -> int:
        """Answers that are on their way have their own bound: that of calls under way."""
        return 0

    def begin(self, call_id: str, name: str, args: list[Any], kwargs: dict[str, Any]) -> bool:
        """Carry out a call; False for one that no server of ours tells of."""
        arguments = json.dumps({"args": args, "kwargs": kwargs})
        if len(arguments) > ARGUMENTS_CAP:
            return False
        self._count += 1
        self._ids[self._count] = call_id
        return self._run.begin(ToolCall("", self._count, name, arguments))

    def send(self, message: ToolAnswer) -> None:
        """Send an answer."""
        call_id = self._ids.pop(message.id)
        task = asyncio.ensure_future(self._answer(call_id, message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def end(self) -> None:
        """Cancel what is under way: the snippet is over."""
        self._run.end()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
