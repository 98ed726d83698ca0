"""Streams to E2B's clients: one that a sandbox's end breaks off is cut, and not finished."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runner.server.e2b.forms import KNOWN, Form, SandboxGone, told
from runner.server.e2b.sandboxes import E2bSandbox
from runner.server.http.streaming import EventStream, StatusLine, Streams

SILENT_S = 7 * 24 * 3600.0
"""These protocols have no comment that could be a heartbeat."""


class Lines(EventStream):
    """Sends what `frames` yields. An error before the first is told in `form`.

    A later one cuts the connection: the client tells from that, and not from an end, that its
    sandbox is gone.
    """

    def __init__(
        self,
        request: Request,
        frames: AsyncGenerator[bytes, None],
        streams: Streams,
        form: Form,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._is_begun = StatusLine()
        super().__init__(
            frames,
            self._is_begun,
            streams,
            heartbeat_s=SILENT_S,
            media_type=media_type,
            headers=headers,
        )
        self._asked = request
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except KNOWN as error:
            if not self._is_begun.is_sent:
                await (await told(self._asked, self._form, _raising(error)))(scope, receive, send)
            elif not isinstance(error, SandboxGone):
                raise


def _raising(error: Exception) -> Callable[[], Awaitable[Response]]:
    async def make() -> Response:
        raise error

    return make


@contextmanager
def in_use(sandbox: E2bSandbox) -> Iterator[None]:
    """Keep the session from being taken for idle."""
    sandbox.held.running += 1
    try:
        yield
    finally:
        sandbox.held.running -= 1
        sandbox.held.active_at = time.monotonic()
