"""The server as a program: uvicorn on a socket, until a signal ends it."""

import gc
import logging
import socket
import sys

import uvicorn

from runner.config import Config
from runner.models.directory import Directory
from runner.server.app import create_app, open_services
from runner.server.http.connections import protocol_of
from runner.server.http.logs import JsonLines
from runner.server.services import Services
from runner.server.websockets import MESSAGE_BYTES, PING_S, SocketConnection

CLOSE_S = 2
"""How long uvicorn waits for connections once the streams on them have ended."""


class Server(uvicorn.Server):
    """Lets open streams come to their end before the sockets close, within the bound."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._services.streams.drain(self._services.config.server.grace_s)
        await super().shutdown(sockets)


def settings_of(services: Services) -> uvicorn.Config:
    """Return how uvicorn serves `services`."""
    return uvicorn.Config(
        create_app(services),
        http=protocol_of(services.config.server),
        ws=SocketConnection,
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        # A few bytes would unpack to the longest message there may be.
        ws_per_message_deflate=False,
        access_log=False,
        # Its records go where those of this process go.
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=CLOSE_S,
        server_header=False,
    )


def serve(config: Config, directory: Directory, listener: socket.socket) -> None:
    """Answer on `listener`. Raises ConfigError, PolicyError."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It would log each request to an upstream, with its address.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    services = open_services(config, directory=directory)
    settings = settings_of(services)
    # What was loaded stays for good: no later collection has to walk through it.
    gc.freeze()
    gc.enable()
    host, port = listener.getsockname()[:2]
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"Listening on {origin}", file=sys.stderr)
    # Behind the `#` the token is sent to no server and stands in no log of one.
    print(
        f"The page, by a link that is good once: {origin}/#token={services.page.make_token()}",
        file=sys.stderr,
    )
    Server(settings, services).run(sockets=[listener])
