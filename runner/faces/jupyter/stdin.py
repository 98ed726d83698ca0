"""The channel `stdin`: a snippet's `input()` asks the client that sent the cell."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from runner.faces.jupyter.wire import Content, Request

if TYPE_CHECKING:
    from sandbox import AsyncSession

TOOL = "_ask_client"
LINE_CHARS = 1_000_000
PRELUDE = f"""
def _of(ask):
    def input(prompt="", /):
        try:
            return ask(str(prompt))
        except ToolError as error:
            raise EOFError(error.message) from None
    return input
__import__("builtins").input = _of({TOOL})
del _of
"""
NONE_ASKED = "input() was called, but this client takes no questions of a cell"
Tools = Mapping[str, Callable[[str], Awaitable[str]]]


class Replies(Protocol):
    """What carries a question to the client of a request."""

    async def reply(self, channel: str, kind: str, content: Content, request: Request) -> None:
        """Send to the client of `request`."""
        ...


class StdinChannel:
    """Questions of the cell that runs now."""

    def __init__(self, sink: Replies) -> None:
        self.is_ready = False
        """Whether the session has our `input`: it stays Python's own until a client takes
        questions, and for good once it is ours."""
        self._sink = sink
        self._request: Request | None = None
        self._answer: asyncio.Future[str] | None = None

    async def tools(self, request: Request, session: "AsyncSession") -> Tools | None:
        """What a run of `request` may call on the host."""
        self._request = request
        if not self.is_ready:
            if request.content.get("allow_stdin") is not True:
                return None
            outcome = await session.run(PRELUDE, tools={TOOL: self.ask})
            self.is_ready = outcome.status == "completed"
        return {TOOL: self.ask}

    async def ask(self, prompt: str) -> str:
        """What the client's user answers. Raises EOFError when it takes no questions."""
        request = self._request
        if request is None or request.content.get("allow_stdin") is not True:
            raise EOFError(NONE_ASKED)
        self._answer = asyncio.get_running_loop().create_future()
        question: Content = {"prompt": prompt[:LINE_CHARS], "password": False}
        await self._sink.reply("stdin", "input_request", question, request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def take(self, reply: Request) -> None:
        """Give a client's answer to the snippet that waits for it; any other is passed over."""
        waits, asked = self._answer, self._request
        if waits is None or waits.done() or asked is None or reply.kind != "input_reply":
            return
        value = reply.content.get("value")
        if asked.identities == reply.identities and isinstance(value, str):
            waits.set_result(value[:LINE_CHARS])

    def give_up(self) -> None:
        """Let no snippet wait any longer."""
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
