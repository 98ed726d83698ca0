"""A session by the tools of the Model Context Protocol, through the official client."""

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from serving import KEY, TalkModel, directory, serving

from sandbox import Limits
from tests.conformance.lacking import Lacking, Told

Connected = Callable[[], AbstractAsyncContextManager[ClientSession]]
STDIO = StdioServerParameters(command=sys.executable, args=["-m", "runner", "mcp"])


class McpSubject:
    """The calls that have a tool; a call of a tool that is not there is Lacking."""

    def __init__(self, runner: asyncio.Runner, client: ClientSession) -> None:
        self._runner = runner
        self._client = client

    def run(self, code: str, *, limits: Limits | None = None) -> Any:
        """What `run_python` tells of a snippet."""
        more = {} if limits is None else {"timeout_s": limits.wall_s}
        told = self._call("run_python", {"code": code} | more)
        found = told.structured_content
        error = found.get("error") and Told(**found["error"])
        shown = [{one.mime_type: one.data} for one in told.content if one.type == "image"]
        return Told(**found | {"error": error, "displays": shown})

    def exec(self, command: list[str], *, timeout_s: float) -> Any:
        """What `run_command` tells of a command."""
        asked = {"command": " ".join(command), "timeout_s": timeout_s}
        return Told(**self._call("run_command", asked).structured_content)

    def put(self, path: str, data: str | bytes) -> None:
        """Write a file."""
        is_text = isinstance(data, str)
        content = data if isinstance(data, str) else base64.b64encode(data).decode()
        encoding = "utf-8" if is_text else "base64"
        asked = {"path": path, "content": content, "encoding": encoding}
        assert not self._call("write_file", asked).is_error

    def get(self, path: str) -> bytes:
        """Read a file."""
        read = self._call("read_file", {"path": path})
        text: str = read.content[0].text
        is_text = read.structured_content["encoding"] == "utf-8"
        return text.encode() if is_text else base64.b64decode(text)

    def files(self) -> list[str]:
        """The files of the workspace."""
        found: list[str] = self._call("list_files", {}).structured_content["files"]
        return found

    def checkpoint(self, label: str) -> str:
        """Mark the session's variables; the label, which is all that the tool gives."""
        assert not self._call("checkpoint", {"label": label}).is_error
        return label

    def rollback(self, label: str) -> None:
        """Put the variables back."""
        assert not self._call("rollback", {"label": label}).is_error

    @property
    def is_live(self) -> bool:
        """Whether the session is there: a name always has one."""
        return bool(self.run("1").text)

    def close(self) -> None:
        """End the session of this name."""
        self._call("reset", {})

    def __getattr__(self, name: str) -> Any:
        tools = self._runner.run(self._client.list_tools()).tools
        assert name not in {tool.name for tool in tools}, "a tool that this class should call"
        raise Lacking(name)

    def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        return self._runner.run(self._client.call_tool(tool, arguments))


@contextlib.asynccontextmanager
async def _by_stdio() -> AsyncIterator[ClientSession]:
    async with stdio_client(STDIO) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        yield client


def _by_http(origin: str) -> Connected:
    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[ClientSession]:
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            streamable_http_client(f"{origin}/mcp", http_client=http) as (read, write),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            yield client

    return connected


class _Held:
    """A client that stays open on a loop which runs a call at a time.

    One task opens and closes it: what the client is made of must end where it began.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live())

    async def client(self) -> ClientSession:
        """The open client."""
        waited: set[asyncio.Future[Any]] = {self._life, self._ready}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()
        return self._ready.result()

    async def close(self) -> None:
        """End the connection."""
        self._stop.set()
        await self._life

    async def _live(self) -> None:
        async with self._connected() as client:
            self._ready.set_result(client)
            await self._stop.wait()


async def _hold(connected: Connected) -> _Held:
    return _Held(connected)


@contextlib.contextmanager
def _opener(connected: Connected) -> Iterator[Callable[[], AbstractContextManager[McpSubject]]]:
    with asyncio.Runner() as runner:
        held = runner.run(_hold(connected))
        client = runner.run(held.client())
        try:
            yield lambda: contextlib.closing(McpSubject(runner, client))
        finally:
            runner.run(held.close())


@contextlib.contextmanager
def mcp_by_stdio() -> Iterator[Callable[[], AbstractContextManager[McpSubject]]]:
    """`cellblock mcp`."""
    with _opener(_by_stdio) as opener:
        yield opener


@contextlib.contextmanager
def mcp_by_http() -> Iterator[Callable[[], AbstractContextManager[McpSubject]]]:
    """`/mcp` of a server."""
    with serving(directory(TalkModel({}))) as server, _opener(_by_http(server.origin)) as opener:
        yield opener
