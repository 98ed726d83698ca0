"""A Jupyter kernel over one session: what a notebook runs, runs in a jail.

The kernel is this process: it holds the sockets and no code of the notebook. Requests of a channel
are answered in their order; those of `control` (interrupt, shutdown) at any time. Source:
jupyter_client's documentation "Messaging in Jupyter", version 5.4.
"""

import asyncio
import json
import platform
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import zmq
import zmq.asyncio

from runner.bundles import notebook_bundle
from runner.errors import ConfigError
from runner.faces.jupyter_history import History
from runner.faces.jupyter_wire import PROTOCOL, BadMessage, Content, MessageCodec, Request
from sandbox import (
    AsyncSandbox,
    AsyncSession,
    Cleared,
    Displayed,
    Event,
    Finished,
    Outcome,
    Policy,
    SandboxError,
    Stderr,
    Stdout,
    ValueNotCarried,
)

CONNECTION_CAP_BYTES = 64 * 1024
CHANNELS = ("shell", "control", "iopub", "stdin", "hb")
BANNER = "Cellblock: Python in a jail"


@dataclass(frozen=True, slots=True)
class ConnectionFile:
    """Where the kernel listens, and the key of its messages."""

    transport: str
    ip: str
    key: str
    signature_scheme: str
    ports: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> "ConnectionFile":
        """The file that a client wrote. Raises ConfigError."""
        try:
            with path.open("rb") as file:
                data = json.loads(file.read(CONNECTION_CAP_BYTES))
            return cls(
                str(data["transport"]),
                str(data["ip"]),
                str(data["key"]),
                str(data.get("signature_scheme", "hmac-sha256")),
                {name: int(data[f"{name}_port"]) for name in CHANNELS},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"{path} is no Jupyter connection file: {type(error).__name__}: {error}"
            raise ConfigError("connection file", problem) from error

    def address(self, channel: str) -> str:
        """What the channel's socket binds to."""
        joint = "-" if self.transport == "ipc" else ":"
        return f"{self.transport}://{self.ip}{joint}{self.ports[channel]}"


async def serve(policy: Policy, file: ConnectionFile) -> None:
    """Answer clients until one asks for the end. Raises SandboxError, ConfigError."""
    async with AsyncExitStack() as held:
        context = zmq.asyncio.Context()
        held.callback(context.destroy, linger=500)
        sockets = {
            name: _bound(context, kind, file.address(name))
            for name, kind in (
                ("shell", zmq.ROUTER),
                ("control", zmq.ROUTER),
                ("iopub", zmq.PUB),
                ("stdin", zmq.ROUTER),
                ("hb", zmq.REP),
            )
        }
        box = await held.enter_async_context(AsyncSandbox(policy, pool_size=1))
        kernel = Kernel(box, MessageCodec(file.key.encode(), file.signature_scheme), sockets)
        held.push_async_callback(kernel.close)
        await kernel.run()


def _bound(context: zmq.asyncio.Context, kind: int, address: str) -> zmq.asyncio.Socket:
    socket = context.socket(kind)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise ConfigError("connection file", f"{address} cannot be bound: {error}") from error
    return socket


class Kernel:
    """One session behind five sockets."""

    def __init__(
        self, box: AsyncSandbox, codec: MessageCodec, sockets: dict[str, zmq.asyncio.Socket]
    ) -> None:
        self._box = box
        self._codec = codec
        self._sockets = sockets
        self._session: AsyncSession | None = None
        self._count = 0
        self._shown = 0
        self._history = History()
        self._ended = asyncio.Event()
        # After an error, requests that were sent before its reply are not carried out.
        self._aborts = False

    async def run(self) -> None:
        """Answer until a client asks for the end."""
        works = [
            asyncio.create_task(work)
            for work in (self._channel("shell"), self._channel("control"), self._beat())
        ]
        ended = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait({*works, ended}, return_when=asyncio.FIRST_COMPLETED)
            for work in done - {ended}:
                work.result()
        finally:
            for work in (*works, ended):
                work.cancel()
            await asyncio.wait({*works, ended})

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.close()

    # ---- channels ------------------------------------------------------------------------------

    async def _beat(self) -> None:
        socket = self._sockets["hb"]
        while True:
            await socket.send_multipart(await socket.recv_multipart())

    async def _channel(self, name: str) -> None:
        socket = self._sockets[name]
        while True:
            try:
                request = self._codec.read(await socket.recv_multipart())
            except BadMessage:
                # Without the key it is nobody's message, and has no answer.
                continue
            await self._tell("status", {"execution_state": "busy"}, request)
            kind = request.kind.removesuffix("_request")
            content = await self._answered(kind, request)
            if content is not None:
                reply = self._codec.write(
                    f"{kind}_reply", content, request.header, request.identities
                )
                await socket.send_multipart(reply)
            await self._tell("status", {"execution_state": "idle"}, request)
            if kind == "execute" and content is not None and content["status"] == "error":
                await self._abort_queued(request)
            if kind == "shutdown":
                self._ended.set()

    async def _answered(self, kind: str, request: Request) -> Content | None:
        answer = getattr(self, f"_on_{kind}", None) if kind in ANSWERED else None
        if answer is None:
            # The protocol lets a kernel pass over messages that it does not know.
            return None
        try:
            found: Content = await answer(request)
        except SandboxError as error:
            return _error(type(error).__name__, str(error), [])
        return found

    async def _abort_queued(self, failed: Request) -> None:
        """Refuse what was sent while `failed` ran, as notebooks expect of "run all"."""
        if failed.content.get("stop_on_error", True) is not True:
            return
        socket = self._sockets["shell"]
        while await socket.poll(0):
            try:
                request = self._codec.read(await socket.recv_multipart())
            except BadMessage:
                continue
            kind = request.kind.removesuffix("_request")
            if kind == "execute":
                content: Content = {"status": "aborted", "execution_count": self._count}
            else:
                content = await self._answered(kind, request) or {"status": "aborted"}
            await self._tell("status", {"execution_state": "busy"}, request)
            await socket.send_multipart(
                self._codec.write(f"{kind}_reply", content, request.header, request.identities)
            )
            await self._tell("status", {"execution_state": "idle"}, request)

    async def _tell(self, kind: str, content: Content, request: Request) -> None:
        parts = self._codec.write(kind, content, request.header, [f"kernel.{kind}".encode()])
        await self._sockets["iopub"].send_multipart(parts)

    async def _live(self) -> AsyncSession:
        if self._session is None or not self._session.is_live:
            if self._session is not None:
                await self._session.close()
            self._session = await self._box.session()
        return self._session

    # ---- running -------------------------------------------------------------------------------

    async def _on_execute(self, request: Request) -> Content:
        code, silent = _text(request, "code"), request.content.get("silent") is True
        keeps = request.content.get("store_history", True) is True and not silent
        if keeps:
            self._count += 1
        if not silent:
            shown = {"code": code, "execution_count": self._count}
            await self._tell("execute_input", shown, request)
        self._shown, outcome = 0, None
        session = await self._live()
        async with aclosing(_events(session, code)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    outcome = event.outcome
                elif not silent:
                    await self._show(event, request)
        assert outcome is not None, "a stream ends with its outcome"
        if keeps:
            self._history.add(self._count, code, outcome.text)
        return await self._ending(outcome, request, silent=silent)

    async def _show(self, event: Event, request: Request) -> None:
        if isinstance(event, Stdout | Stderr):
            name = "stdout" if isinstance(event, Stdout) else "stderr"
            await self._tell("stream", {"name": name, "text": event.text}, request)
        elif isinstance(event, Cleared):
            self._shown = 0
            await self._tell("clear_output", {"wait": False}, request)
        elif isinstance(event, Displayed):
            # Which of a cell's displays is replaced is a number here, and a name there.
            number, kind = event.replaces, "update_display_data"
            if number is None:
                number, kind = self._shown, "display_data"
                self._shown += 1
            place = {"display_id": f"{request.header.get('msg_id')}-{number}"}
            content: Content = {
                "data": notebook_bundle(event.bundle),
                "metadata": {},
                "transient": place,
            }
            await self._tell(kind, content, request)

    async def _ending(self, outcome: Outcome, request: Request, *, silent: bool) -> Content:
        if outcome.status == "completed":
            if outcome.text is not None and not silent:
                content = {
                    "execution_count": self._count,
                    "data": {"text/plain": outcome.text},
                    "metadata": {},
                }
                await self._tell("execute_result", content, request)
            return {
                "status": "ok",
                "execution_count": self._count,
                "payload": [],
                "user_expressions": {},
            }
        if outcome.status == "raised":
            found = outcome.error
            error = _error(found.type, found.message, found.traceback.splitlines())
        else:
            text = outcome.for_model(max_chars=2000)
            error = _error(outcome.status, text.splitlines()[0], text.splitlines())
        if not silent:
            told = {name: value for name, value in error.items() if name != "status"}
            await self._tell("error", told, request)
        return {**error, "execution_count": self._count}

    # ---- questions -----------------------------------------------------------------------------

    async def _on_kernel_info(self, request: Request) -> Content:
        return {
            "status": "ok",
            "protocol_version": PROTOCOL,
            "implementation": "cellblock",
            "implementation_version": _version(),
            "language_info": {
                "name": "python",
                "version": platform.python_version(),
                "mimetype": "text/x-python",
                "file_extension": ".py",
                "pygments_lexer": "ipython3",
                "codemirror_mode": {"name": "ipython", "version": 3},
                "nbconvert_exporter": "python",
            },
            "banner": BANNER,
            "help_links": [],
        }

    async def _on_complete(self, request: Request) -> Content:
        cursor = request.content.get("cursor_pos")
        found = await (await self._live()).complete(
            _text(request, "code"), cursor if isinstance(cursor, int) else None
        )
        return {
            "status": "ok",
            "matches": list(found.matches),
            "cursor_start": found.start,
            "cursor_end": found.end,
            "metadata": {},
        }

    async def _on_is_complete(self, request: Request) -> Content:
        code = _text(request, "code")
        status = await (await self._live()).is_complete(code)
        if status != "incomplete":
            return {"status": status}
        last = code.rstrip("\n").rpartition("\n")[2]
        deeper = "    " if last.rstrip().endswith(":") else ""
        return {"status": status, "indent": last[: len(last) - len(last.lstrip())] + deeper}

    async def _on_inspect(self, request: Request) -> Content:
        code, cursor = _text(request, "code"), request.content.get("cursor_pos")
        name = _name_at(code, cursor if isinstance(cursor, int) else len(code))
        missing = {"status": "ok", "found": False, "data": {}, "metadata": {}}
        if not name:
            return missing
        try:
            found = await (await self._live()).inspect(name)
        except ValueNotCarried:
            return missing
        lines = [f"{name}{found.signature}" if found.signature else name, f"Type: {found.type}"]
        text = "\n\n".join(["\n".join(lines), *filter(None, (found.preview, found.docstring))])
        return {"status": "ok", "found": True, "data": {"text/plain": text}, "metadata": {}}

    async def _on_history(self, request: Request) -> Content:
        return {"status": "ok", "history": self._history.find(request.content)}

    async def _on_comm_info(self, request: Request) -> Content:
        return {"status": "ok", "comms": {}}

    async def _on_interrupt(self, request: Request) -> Content:
        if self._session is not None:
            self._session.interrupt()
        return {"status": "ok"}

    async def _on_shutdown(self, request: Request) -> Content:
        return {"status": "ok", "restart": request.content.get("restart") is True}


ANSWERED = frozenset(
    ("execute", "kernel_info", "complete", "is_complete", "inspect", "history", "comm_info")
) | {"interrupt", "shutdown"}


async def _events(session: AsyncSession, code: str) -> AsyncGenerator[Event, None]:
    """The events of `code`; closing ends the snippet."""
    events = session.stream(code)
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def _version() -> str:
    try:
        return metadata.version("cellblock")
    except metadata.PackageNotFoundError:
        # Run from a checkout that was not installed.
        return "0"


def _text(request: Request, name: str) -> str:
    value = request.content.get(name)
    return value if isinstance(value, str) else ""


def _error(kind: str, message: str, lines: list[str]) -> Content:
    return {"status": "error", "ename": kind, "evalue": message, "traceback": lines}


def _name_at(code: str, cursor: int) -> str:
    """The dotted name that ends at or around `cursor`; before it the one of an open call."""
    cursor = max(0, min(cursor, len(code)))
    end = cursor
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    begin = cursor
    while begin > 0 and (code[begin - 1].isalnum() or code[begin - 1] in "_."):
        begin -= 1
    name = code[begin:end].strip(".")
    if not name and (opened := code.rfind("(", 0, cursor)) > 0:
        return _name_at(code[:opened], opened)
    return name
