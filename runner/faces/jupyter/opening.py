"""The sockets of a kernel that is a program, and its first answer, before asyncio is imported.

A notebook waits for `kernel_info`, and looks for the answer's two states on `iopub` as well: an
answer before that socket is connected has it wait and ask again. So the first one is given when
both are there.
"""

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import zmq

from runner.errors import ConfigError
from runner.faces.jupyter.contents import kernel_info
from runner.faces.jupyter.wire import (
    MESSAGE_CAP_BYTES,
    BadMessage,
    Content,
    MessageCodec,
    Request,
)

CONNECTION_CAP_BYTES = 64 * 1024
CHANNELS = ("shell", "control", "iopub", "stdin", "hb")
KINDS = {
    # XPUB is PUB that tells of its subscribers.
    "iopub": zmq.XPUB,
    "shell": zmq.ROUTER,
    "control": zmq.ROUTER,
    "stdin": zmq.ROUTER,
    "hb": zmq.REP,
}
FIRST_WAIT_S = 0.03
"""A client that was connected at once asks within so long; others are answered by the loop."""


class ConnectionFile(NamedTuple):
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


class OpenKernel(NamedTuple):
    """A kernel's sockets, bound, and what signs their messages."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    sockets: "dict[str, zmq.Socket[bytes]]"
    codec: MessageCodec

    @classmethod
    def open(
        cls, file: ConnectionFile, listening: Mapping[str, socket.SocketType] | None = None
    ) -> "OpenKernel":
        """Bind the sockets; those of TCP that are `listening` already, by address, are taken over.

        Raises ConfigError.
        """
        try:
            codec = MessageCodec(file.key.encode(), file.signature_scheme)
        except BadMessage as error:
            raise ConfigError("connection file", str(error)) from error
        opened = cls(zmq.Context(), {}, codec)
        try:
            for channel, kind in KINDS.items():
                address = file.address(channel)
                opened.sockets[channel] = made = opened.context.socket(kind)
                made.setsockopt(zmq.MAXMSGSIZE, MESSAGE_CAP_BYTES)
                if (early := (listening or {}).get(address)) is not None:
                    # ZMQ has it from here on, and closes it.
                    made.setsockopt(zmq.USE_FD, early.detach())
                _bind(made, address)
        except ConfigError:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Close the sockets; what was sent has half a second to leave."""
        self.context.destroy(linger=500)

    def answer_first(self) -> list[Request]:
        """Say what the kernel is to a client that asks now; requests of `shell` that are left."""
        shell, iopub = self.sockets["shell"], self.sockets["iopub"]
        poller = zmq.Poller()
        poller.register(shell, zmq.POLLIN)
        poller.register(iopub, zmq.POLLIN)
        until = time.monotonic() + FIRST_WAIT_S
        request: Request | None = None
        is_heard = False
        while (left_s := until - time.monotonic()) > 0 and not (request and is_heard):
            for found, _ in poller.poll(max(1, round(left_s * 1000))):
                if found is iopub:
                    iopub.recv()
                    is_heard = True
                elif request is None:
                    try:
                        request = self.codec.read(shell.recv_multipart())
                    except BadMessage:
                        continue
                    poller.unregister(shell)
                    if request.kind != "kernel_info_request":
                        return [request]
        if request is None:
            return []
        if not is_heard:
            return [request]
        self._publish("busy", request.header)
        told = kernel_info()
        parts = self.codec.write("kernel_info_reply", told, request.header, request.identities)
        shell.send_multipart(parts)
        self._publish("idle", request.header)
        return []

    def _publish(self, state: str, parent: Content) -> None:
        content = {"execution_state": state}
        parts = self.codec.write("status", content, parent, [b"kernel.status"])
        self.sockets["iopub"].send_multipart(parts)


def _bind(made: "zmq.Socket[bytes]", address: str) -> None:
    try:
        made.bind(address)
    except zmq.ZMQError as error:
        raise ConfigError("connection file", f"{address} cannot be bound: {error}") from error
