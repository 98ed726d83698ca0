"""The message loop of one kernel: requests of clients in, messages out, a session behind them.

Requests of `shell` are answered in their order; those of `control` (interrupt, shutdown) at any
time. What carries messages is a `Sink`: sockets of ZMQ, or one of the web. The engine is imported
when a cell first needs it. Source: jupyter_client's "Messaging in Jupyter", version 5.4.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any, Protocol

from runner.errors import RunnerError
from runner.faces.jupyter.contents import (
    bundle_of,
    ending_error,
    error,
    is_echo,
    kernel_info,
    name_at,
    ok,
    paged_name,
    text_of,
)
from runner.faces.jupyter.history import History
from runner.faces.jupyter.stdin import StdinChannel
from runner.faces.jupyter.wire import Content, Request

if TYPE_CHECKING:
    from sandbox import AsyncSession, Displayed, Event, Outcome

QUEUED_REQUESTS = 1000
QUEUED_BYTES = 64 * 1024 * 1024
EXPRESSIONS_MOST = 20
RENEWED = "The session of this kernel had ended: this is a fresh one, without variables.\n"
HELD_S = 0.05
"""A display waits so long for the cell's end: it may be the forms of the cell's result."""
FREE = frozenset(("kernel_info", "history", "comm_info", "interrupt", "shutdown"))
"""Kinds that need no session, and cost none."""
ANSWERED = FREE | {"execute", "complete", "is_complete", "inspect"}


class Sessions(Protocol):
    """What makes a kernel's session, and is told of the work in it."""

    def calling(self) -> AbstractContextManager[None]:
        """Count one request while it lasts. Raises RunnerError when there are too many."""
        ...

    def working(self, session: "AsyncSession") -> AbstractContextManager[None]:
        """Take note that `session` is in use while the block lasts."""
        ...

    async def open(self) -> "AsyncSession":
        """Make a session. Raises RunnerError, SandboxError."""
        ...

    async def end(self, session: "AsyncSession") -> None:
        """Close `session`; once more does nothing."""
        ...

    def ran(self, session: "AsyncSession", code: str, outcome: "Outcome") -> None:
        """Take note of a snippet's outcome."""
        ...


class Sink(Protocol):
    """What carries messages to clients."""

    async def reply(self, channel: str, kind: str, content: Content, request: Request) -> None:
        """Send to the client of `request`."""
        ...

    async def publish(self, kind: str, content: Content, parent: Content) -> None:
        """Send to all clients, as what belongs to the request with the header `parent`."""
        ...


class KernelLoop:
    """One kernel."""

    def __init__(self, sessions: Sessions, sink: Sink) -> None:
        self.state = "starting"
        self.ended = asyncio.Event()
        """A client asked for the end."""
        self._sessions = sessions
        self._sink = sink
        self._stdin = StdinChannel(sink)
        self._session: AsyncSession | None = None
        self._opening = asyncio.Lock()
        self._has_lost = False
        self._queue: asyncio.Queue[tuple[str, Request]] = asyncio.Queue()
        self._queued_bytes = 0
        self._count = 0
        self._shown = 0
        self._history = History()

    async def run(self) -> None:
        """Answer what `take` queues, without an end."""
        while True:
            channel, request = await self._next()
            content = await self._serve(channel, request)
            if request.kind == "execute_request" and content is not None:
                failed = content["status"] == "error"
                if failed and request.content.get("stop_on_error", True) is True:
                    await self._abort_queued()

    async def take(self, channel: str, request: Request) -> None:
        """Answer a request of `control`, queue one of `shell`, pass on one of `stdin`."""
        kind = request.kind.removesuffix("_request")
        if channel == "stdin":
            self._stdin.take(request)
        elif channel == "control" and kind in FREE:
            await self._serve(channel, request)
        elif (
            self._queue.qsize() >= QUEUED_REQUESTS
            or self._queued_bytes + request.size_bytes > QUEUED_BYTES
        ):
            refused = error("TooManyRequests", "too many requests wait for an answer")
            await self._sink.reply(channel, f"{kind}_reply", refused, request)
        else:
            self._queued_bytes += request.size_bytes
            self._queue.put_nowait((channel, request))

    async def open(self) -> "AsyncSession":
        """The kernel's session; a new one when there is none that lives.

        Raises RunnerError, SandboxError.
        """
        async with self._opening:
            if self._session is not None and not self._session.is_live:
                self._has_lost = True
                await self._forget()
            if self._session is None:
                self._session = await self._sessions.open()
                self._stdin.is_ready = False
            return self._session

    @property
    def is_live(self) -> bool:
        """Whether its session has not ended."""
        return self._session is not None and self._session.is_live

    def interrupt(self) -> None:
        """End what runs now; a cell that waits for an answer, too."""
        if self._session is not None:
            self._session.interrupt()

    async def restart(self) -> None:
        """Forget all variables and requests; the next cell has a fresh session."""
        while not self._queue.empty():
            await self._next()
        self.interrupt()
        self._count = 0
        await self._forget()

    async def close(self) -> None:
        """End the session."""
        self._stdin.give_up()
        await self._forget()

    # ---- messages ------------------------------------------------------------------------------

    async def _next(self) -> tuple[str, Request]:
        channel, request = await self._queue.get()
        self._queued_bytes -= request.size_bytes
        return channel, request

    async def _serve(self, channel: str, request: Request) -> Content | None:
        """Answer between the two words that clients wait for; what was answered."""
        await self._say("busy", request)
        kind = request.kind.removesuffix("_request")
        # The protocol lets a kernel pass over messages that it does not know.
        content = await self._answered(kind, request) if kind in ANSWERED else None
        if content is not None:
            await self._sink.reply(channel, f"{kind}_reply", content, request)
        await self._say("idle", request)
        if kind == "shutdown":
            self.ended.set()
        return content

    async def _answered(self, kind: str, request: Request) -> Content:
        from sandbox import SandboxError

        try:
            if kind in FREE:
                return await self._free(kind, request)
            with self._sessions.calling():
                session = await self.open()
                with self._sessions.working(session):
                    return await self._asked(kind, request, session)
        except (SandboxError, RunnerError) as failed:
            told = error(type(failed).__name__, str(failed))
            if kind == "execute":
                await self._sink.publish("error", _without_status(told), request.header)
                told["execution_count"] = self._count
            return told

    async def _abort_queued(self) -> None:
        """Refuse what was sent while a cell ran that failed, as notebooks expect of "run all"."""
        # What has come and is not read yet was sent before the reply, too.
        await asyncio.sleep(0)
        waiting = [await self._next() for _ in range(self._queue.qsize())]
        for channel, request in waiting:
            if request.kind != "execute_request":
                await self._serve(channel, request)
                continue
            await self._say("busy", request)
            content: Content = {"status": "aborted", "execution_count": self._count}
            await self._sink.reply(channel, "execute_reply", content, request)
            await self._say("idle", request)

    async def _say(self, state: str, request: Request) -> None:
        self.state = state
        await self._sink.publish("status", {"execution_state": state}, request.header)

    async def _forget(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await self._sessions.end(session)

    # ---- cells ---------------------------------------------------------------------------------

    async def _execute(self, request: Request, session: "AsyncSession") -> Content:
        code, silent = text_of(request, "code"), request.content.get("silent") is True
        keeps = request.content.get("store_history", True) is True and not silent
        if keeps:
            self._count += 1
        if not silent:
            shown = {"code": code, "execution_count": self._count}
            await self._sink.publish("execute_input", shown, request.header)
        if self._has_lost:
            self._has_lost = False
            if not silent:
                told = {"name": "stderr", "text": RENEWED}
                await self._sink.publish("stream", told, request.header)
        if (name := paged_name(code)) is not None:
            return await self._page(name, session)
        self._shown = 0
        tools = await self._stdin.tools(request, session)
        outcome, held = await self._run(session.stream(code, tools=tools), request, silent=silent)
        self._sessions.ran(session, code, outcome)
        if keeps:
            self._history.add(self._count, code, outcome.text)
        if outcome.status == "completed":
            await self._result(outcome.text, held, request, silent=silent)
            return ok(self._count) | {"user_expressions": await self._expressions(request, session)}
        if held is not None:
            await self._display(held, request)
        told = ending_error(outcome)
        if not silent:
            await self._sink.publish("error", _without_status(told), request.header)
        return told | {"execution_count": self._count}

    async def _run(
        self, events: "AsyncIterator[Event]", request: Request, *, silent: bool
    ) -> "tuple[Outcome, Displayed | None]":
        """Show events as they come; the outcome, and a display that just came before it."""
        from sandbox import Displayed, Finished

        held: Displayed | None = None
        async with aclosing(_generator(events)) as source:
            while True:
                coming = asyncio.ensure_future(_next_of(source))
                try:
                    if held is not None:
                        done, _ = await asyncio.wait({coming}, timeout=HELD_S)
                        if not done:
                            await self._display(held, request)
                            held = None
                    event = await coming
                finally:
                    # A cancelled cell leaves none that waits.
                    coming.cancel()
                if isinstance(event, Finished):
                    return event.outcome, held
                if held is not None:
                    await self._display(held, request)
                    held = None
                if silent:
                    continue
                if isinstance(event, Displayed) and event.replaces is None:
                    held = event
                else:
                    await self._show(event, request)

    async def _show(self, event: "Event", request: Request) -> None:
        from sandbox import Cleared, Displayed, Stderr, Stdout

        if isinstance(event, Stdout | Stderr):
            name = "stdout" if isinstance(event, Stdout) else "stderr"
            told = {"name": name, "text": event.text}
            await self._sink.publish("stream", told, request.header)
        elif isinstance(event, Cleared):
            self._shown = 0
            await self._sink.publish("clear_output", {"wait": False}, request.header)
        elif isinstance(event, Displayed):
            await self._display(event, request)

    async def _display(self, event: "Displayed", request: Request) -> None:
        # Which of a cell's displays is replaced is a number here, and a name there.
        number, kind = event.replaces, "update_display_data"
        if number is None:
            number, kind = self._shown, "display_data"
            self._shown += 1
        place = {"display_id": f"{request.header.get('msg_id')}-{number}"}
        content: Content = {"data": bundle_of(event.bundle), "metadata": {}, "transient": place}
        await self._sink.publish(kind, content, request.header)

    async def _result(
        self, text: str | None, held: "Displayed | None", request: Request, *, silent: bool
    ) -> None:
        data: dict[str, Any] = {} if text is None else {"text/plain": text}
        if held is not None and is_echo(held.bundle, text):
            data = bundle_of(held.bundle)
        elif held is not None:
            await self._display(held, request)
        if data and not silent:
            content = {"execution_count": self._count, "data": data, "metadata": {}}
            await self._sink.publish("execute_result", content, request.header)

    async def _expressions(self, request: Request, session: "AsyncSession") -> Content:
        asked = request.content.get("user_expressions")
        found: Content = {}
        for name, code in list(asked.items())[:EXPRESSIONS_MOST] if isinstance(asked, dict) else ():
            outcome = await session.run(str(code))
            self._sessions.ran(session, str(code), outcome)
            if outcome.status == "completed":
                data = {"text/plain": outcome.text or ""}
                found[name] = {"status": "ok", "data": data, "metadata": {}}
            else:
                found[name] = ending_error(outcome)
        return found

    async def _page(self, name: str, session: "AsyncSession") -> Content:
        text = await self._described(name, session) or f"Object `{name}` not found."
        page = {"source": "page", "data": {"text/plain": text}, "start": 0}
        return ok(self._count) | {"payload": [page]}

    # ---- questions -----------------------------------------------------------------------------

    async def _free(self, kind: str, request: Request) -> Content:
        if kind == "kernel_info":
            return kernel_info()
        if kind == "history":
            return {"status": "ok", "history": self._history.find(request.content)}
        if kind == "comm_info":
            return {"status": "ok", "comms": {}}
        if kind == "interrupt":
            self.interrupt()
            return {"status": "ok"}
        return {"status": "ok", "restart": request.content.get("restart") is True}

    async def _asked(self, kind: str, request: Request, session: "AsyncSession") -> Content:
        code, cursor = text_of(request, "code"), request.content.get("cursor_pos")
        at = cursor if isinstance(cursor, int) else None
        if kind == "execute":
            return await self._execute(request, session)
        if kind == "complete":
            found = await session.complete(code, at)
            return {
                "status": "ok",
                "matches": list(found.matches),
                "cursor_start": found.start,
                "cursor_end": found.end,
                "metadata": {},
            }
        if kind == "is_complete":
            return _completeness(code, await session.is_complete(code))
        text = await self._described(name_at(code, len(code) if at is None else at), session)
        data = {} if text is None else {"text/plain": text}
        return {"status": "ok", "found": text is not None, "data": data, "metadata": {}}

    async def _described(self, name: str, session: "AsyncSession") -> str | None:
        from sandbox import ValueNotCarried

        if not name:
            return None
        try:
            found = await session.inspect(name)
        except ValueNotCarried:
            return None
        lines = [f"{name}{found.signature}" if found.signature else name, f"Type: {found.type}"]
        return "\n\n".join(["\n".join(lines), *filter(None, (found.preview, found.docstring))])


def _completeness(code: str, status: str) -> Content:
    if status != "incomplete":
        return {"status": status}
    last = code.rstrip("\n").rpartition("\n")[2]
    deeper = "    " if last.rstrip().endswith(":") else ""
    return {"status": status, "indent": last[: len(last) - len(last.lstrip())] + deeper}


def _without_status(told: Content) -> Content:
    return {name: value for name, value in told.items() if name != "status"}


def _next_of(events: "AsyncGenerator[Event, None]") -> "Coroutine[Any, Any, Event]":
    async def following() -> "Event":
        return await anext(events)

    return following()


async def _generator(events: "AsyncIterator[Event]") -> "AsyncGenerator[Event, None]":
    """`events`, closed when it is closed: that is what interrupts the snippet."""
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
