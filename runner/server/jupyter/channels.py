"""`/api/kernels/ID/channels`: a kernel's messages over a WebSocket."""

import asyncio
import secrets
from contextlib import ExitStack

import anyio
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from runner.dialects.faults import Fault
from runner.errors import RequestError, RunnerError
from runner.faces.jupyter.wire import BadMessage, Content, new_id
from runner.server.http.bodies import UNCOUNTED_BYTES, check_structure
from runner.server.jupyter import frames
from runner.server.jupyter.access import account_of, kernels_of
from runner.server.jupyter.kernels import Kernel
from runner.server.services import Services
from runner.server.websockets import refuse

GOING_AWAY = 1001
POLICY_VIOLATED = 1008
router = APIRouter()


@router.websocket("/api/kernels/{kernel_id}/channels")
async def channels(socket: WebSocket, kernel_id: str) -> None:
    """Carry messages until the client leaves; the kernel stays."""
    services = socket.app.state.services
    assert isinstance(services, Services)
    held = ExitStack()
    try:
        account = await account_of(socket)
        kernel = (await kernels_of(socket)).find(account.owner, kernel_id)
        held.enter_context(account.request())
    except RunnerError as error:
        held.close()
        socket.scope["state"]["status"] = await refuse(
            socket.scope, socket.receive, socket.send, error
        )
        return
    with held:
        await SocketClient(socket, kernel).serve(services)


class SocketClient:
    """One socket at a kernel."""

    def __init__(self, socket: WebSocket, kernel: Kernel) -> None:
        self.identity = secrets.token_bytes(8)
        self._socket = socket
        self._kernel = kernel
        self._session = new_id()
        self._is_v1 = frames.V1 in socket.scope.get("subprotocols", ())
        self._scope = anyio.CancelScope()
        self._has_left = False

    async def serve(self, services: Services) -> None:
        """Carry messages until one side leaves."""
        await self._socket.accept(frames.V1 if self._is_v1 else None)
        self._kernel.join(self)
        # It answers nothing by itself: a stop of the server ends it at once.
        services.streams.add(self, listens=True)
        try:
            with self._scope:
                await self._read()
            if self._scope.cancel_called:
                await self._socket.close(GOING_AWAY, "the kernel or the server has ended")
        except (BadMessage, RequestError) as error:
            await self._socket.close(POLICY_VIOLATED, str(error)[:100])
        finally:
            self._has_left = True
            self._kernel.leave(self)
            services.streams.remove(self)

    async def send(self, channel: str, kind: str, content: Content, parent: Content) -> None:
        """Send a message; one that has left gets none."""
        if self._has_left:
            return
        # Off the event loop: an image of some megabytes takes a while to be written as JSON.
        made = (
            await asyncio.to_thread(self._made, channel, kind, content, parent)
            if kind in ("execute_result", "display_data", "update_display_data")
            else self._made(channel, kind, content, parent)
        )
        try:
            if isinstance(made, bytes):
                await self._socket.send_bytes(made)
            else:
                await self._socket.send_text(made)
        except WebSocketDisconnect:
            self._has_left = True

    def abort(self, _fault: Fault) -> None:
        """End the connection: the server stops."""
        self._scope.cancel()

    def end(self) -> None:
        """End the connection: the kernel has ended."""
        self._scope.cancel()

    def _made(self, channel: str, kind: str, content: Content, parent: Content) -> str | bytes:
        return frames.write(channel, kind, content, parent, self._session, is_v1=self._is_v1)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("text")
            if data is None:
                data = message.get("bytes") or b""
            if len(data) > UNCOUNTED_BYTES:
                await check_structure(data.encode() if isinstance(data, str) else data)
                taken = await asyncio.to_thread(frames.read, data, self.identity, is_v1=self._is_v1)
            else:
                taken = frames.read(data, self.identity, is_v1=self._is_v1)
            await self._kernel.take(taken.channel, taken.request)
