"""Model Context Protocol: tools that run Python and commands in named sessions of one sandbox.

A session belongs to its name in a call's arguments and not to a connection: the protocol's newer
revision has no connections that last. Source: the package mcp, version 2, `MCPServer`.
"""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    CallToolResult,
    ContentBlock,
    ImageContent,
    TextContent,
    ToolAnnotations,
)
from pydantic import Field

from sandbox import (
    AsyncSandbox,
    AsyncSession,
    Checkpoint,
    Displayed,
    Finished,
    Limits,
    Outcome,
    Policy,
    SandboxError,
    Stderr,
    Stdout,
)

NAME = "cellblock"
INSTRUCTIONS = (
    "Runs Python and shell commands in jails without a network. Variables, imports and files of a"
    " session persist from call to call; name a session to have several. Files are in /mnt/data."
)
SESSIONS_CAP = 16
IDLE_S = 3600.0
SHOWN_CHARS = 30_000
FILE_CAP_BYTES = 8 * 1024 * 1024
PROGRESS_S = 1.0
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
SessionName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Which session; made when it is new.")
]
TimeoutS = Annotated[float, Field(gt=0, le=3600, description="Seconds it may take.")]


class Sessions:
    """Sessions by name; the one that was idle longest makes room for a new one."""

    def __init__(self, box: AsyncSandbox) -> None:
        self._box = box
        self._open: OrderedDict[str, AsyncSession] = OrderedDict()
        self._used: dict[str, float] = {}
        self._marks: dict[tuple[str, str], Checkpoint] = {}
        self._lock = asyncio.Lock()

    async def get(self, name: str) -> AsyncSession:
        """The session `name`, a fresh one if there is none that lives."""
        async with self._lock:
            session = self._open.get(name)
            if session is not None and not session.is_live:
                await self._close(name)
                session = None
            if session is None:
                for other in [one for one, used in self._used.items() if used < _now() - IDLE_S]:
                    await self._close(other)
                while len(self._open) >= SESSIONS_CAP:
                    await self._close(next(iter(self._open)))
                session = self._open[name] = await self._box.session()
            self._open.move_to_end(name)
            self._used[name] = _now()
            return session

    async def reset(self, name: str) -> None:
        """End the session `name`; the next call has a fresh one."""
        async with self._lock:
            await self._close(name)

    def mark(self, name: str, label: str, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint of a session."""
        self._marks[name, label] = checkpoint

    def marked(self, name: str, label: str) -> Checkpoint | None:
        """The checkpoint that was remembered under `label`."""
        return self._marks.get((name, label))

    async def close(self) -> None:
        """End all of them."""
        async with self._lock:
            for name in list(self._open):
                await self._close(name)

    async def _close(self, name: str) -> None:
        session = self._open.pop(name, None)
        self._used.pop(name, None)
        for key in [key for key in self._marks if key[0] == name]:
            del self._marks[key]
        if session is not None:
            await session.close()


def make_server(policy: Policy | None = None) -> MCPServer[Sessions]:
    """A server with all tools; its sandbox starts and ends with the server's own run."""
    server: MCPServer[Sessions] = MCPServer(
        NAME, title="Cellblock", instructions=INSTRUCTIONS, lifespan=_lifespan(policy or Policy())
    )
    _add_running(server)
    _add_files(server)
    _add_state(server)
    return server


def _lifespan(policy: Policy) -> Any:
    @asynccontextmanager
    async def opened(_server: MCPServer[Sessions]) -> AsyncIterator[Sessions]:
        async with AsyncSandbox(policy) as box:
            sessions = Sessions(box)
            try:
                yield sessions
            finally:
                await sessions.close()

    return opened


def _sessions(ctx: Context) -> Sessions:
    # The package's hints know a dictionary there; it is what the lifespan yields.
    return cast(Sessions, ctx.request_context.lifespan_context)


# ---- running ------------------------------------------------------------------------------------


def _add_running(server: MCPServer[Sessions]) -> None:
    @server.tool(
        title="Run Python",
        annotations=ToolAnnotations(read_only_hint=False, open_world_hint=False),
    )
    async def run_python(
        ctx: Context,
        code: Annotated[str, Field(description="Python source; its last expression is shown.")],
        session: SessionName = "default",
        timeout_s: TimeoutS = 60.0,
    ) -> CallToolResult:
        """Run Python code in a session and return what it printed, its value and its images."""
        limits = Limits(wall_s=timeout_s, cpu_s=timeout_s)
        try:
            live = await _sessions(ctx).get(session)
            outcome = await _run(live, code, limits, ctx)
        except SandboxError as error:
            return _failed(error)
        return result_of(outcome)

    @server.tool(
        title="Run a command",
        annotations=ToolAnnotations(read_only_hint=False, open_world_hint=False),
    )
    async def run_command(
        ctx: Context,
        command: Annotated[str, Field(description="Shell text, run by /bin/sh.")],
        session: SessionName = "default",
        timeout_s: TimeoutS = 60.0,
    ) -> CallToolResult:
        """Run a shell command in a session's jail and return its output and exit code."""
        try:
            live = await _sessions(ctx).get(session)
            done = await live.exec(command, timeout_s=timeout_s)
        except SandboxError as error:
            return _failed(error)
        ending = f"exit code {done.exit_code}" if done.signal is None else f"ended by {done.signal}"
        stderr = done.stderr.decode("utf-8", "replace")
        text = "\n".join(part for part in (done.text, stderr, ending) if part)
        return CallToolResult(
            content=[_text(text)],
            structured_content={
                "exit_code": done.exit_code,
                "signal": done.signal,
                "timed_out": done.timed_out,
                "stdout": done.text[:SHOWN_CHARS],
                "stderr": stderr[:SHOWN_CHARS],
            },
            is_error=done.exit_code != 0,
        )


async def _run(live: AsyncSession, code: str, limits: Limits, ctx: Context) -> Outcome:
    """The outcome of `code`; what it prints is told as progress, at most once a second."""
    told, seen = 0.0, 0
    async for event in live.stream(code, limits=limits):
        if isinstance(event, Finished):
            return event.outcome
        if isinstance(event, Stdout | Stderr | Displayed):
            seen += 1
            if _now() - told >= PROGRESS_S:
                told = _now()
                last = (
                    event.text.rstrip().rpartition("\n")[2][:200]
                    if hasattr(event, "text")
                    else "shows something"
                )
                await ctx.report_progress(float(seen), message=last)
    raise AssertionError("a stream ends with its outcome")


def result_of(outcome: Outcome) -> CallToolResult:
    """An outcome as a tool's result: text for the model, its images, and the facts as data."""
    content: list[ContentBlock] = [_text(outcome.for_model(max_chars=SHOWN_CHARS))]
    for bundle in outcome.displays:
        kind = next((one for one in IMAGES if one in bundle), None)
        if kind is not None:
            content.append(ImageContent(type="image", data=bundle[kind], mime_type=kind))
    return CallToolResult(
        content=content,
        structured_content={
            "status": outcome.status,
            "state": outcome.state,
            "text": outcome.text,
            "stdout": outcome.stdout[:SHOWN_CHARS],
            "stderr": outcome.stderr[:SHOWN_CHARS],
            "files": [artifact.path for artifact in outcome.artifacts],
            "wall_s": outcome.usage.wall_s,
        },
        is_error=outcome.status != "completed",
    )


# ---- files --------------------------------------------------------------------------------------


def _add_files(server: MCPServer[Sessions]) -> None:
    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    async def list_files(ctx: Context, session: SessionName = "default") -> CallToolResult:
        """List the files of a session's workspace, /mnt/data."""
        try:
            names = await (await _sessions(ctx).get(session)).files()
        except SandboxError as error:
            return _failed(error)
        text = "\n".join(names) or "There are no files."
        return CallToolResult(content=[_text(text)], structured_content={"files": names})

    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    async def read_file(
        ctx: Context,
        path: Annotated[str, Field(description="Path below /mnt/data.")],
        session: SessionName = "default",
    ) -> CallToolResult:
        """Read a file of a session's workspace: text as it is, other bytes as Base64."""
        try:
            data = await (await _sessions(ctx).get(session)).get(path)
        except SandboxError as error:
            return _failed(error)
        if len(data) > FILE_CAP_BYTES:
            return _wrong(f"{path} has {len(data)} bytes, at most {FILE_CAP_BYTES} are sent")
        try:
            text, encoding = data.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = base64.b64encode(data).decode(), "base64"
        return CallToolResult(
            content=[_text(text)],
            structured_content={"path": path, "encoding": encoding, "size_bytes": len(data)},
        )

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, open_world_hint=False))
    async def write_file(
        ctx: Context,
        path: Annotated[str, Field(description="Path below /mnt/data.")],
        content: Annotated[str, Field(description="Text, or Base64 with encoding=base64.")],
        session: SessionName = "default",
        encoding: Annotated[str, Field(pattern="^(utf-8|base64)$")] = "utf-8",
    ) -> CallToolResult:
        """Write a file into a session's workspace."""
        try:
            data = base64.b64decode(content, validate=True) if encoding == "base64" else content
        except ValueError as error:
            return _wrong(f"content is no Base64: {error}")
        try:
            await (await _sessions(ctx).get(session)).put(path, data)
        except SandboxError as error:
            return _failed(error)
        return CallToolResult(content=[_text(f"Wrote {path}.")], structured_content={"path": path})


# ---- state --------------------------------------------------------------------------------------


def _add_state(server: MCPServer[Sessions]) -> None:
    @server.tool(annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False))
    async def reset(ctx: Context, session: SessionName = "default") -> CallToolResult:
        """End a session: its variables and files are gone."""
        await _sessions(ctx).reset(session)
        return CallToolResult(content=[_text(f"Session {session} is fresh.")])

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, open_world_hint=False))
    async def checkpoint(
        ctx: Context, label: SessionName = "last", session: SessionName = "default"
    ) -> CallToolResult:
        """Remember a session's variables as they are now, for `rollback`."""
        sessions = _sessions(ctx)
        try:
            made = await (await sessions.get(session)).checkpoint(label)
        except SandboxError as error:
            return _failed(error)
        sessions.mark(session, label, made)
        return CallToolResult(content=[_text(f"Checkpoint {label} of session {session}.")])

    @server.tool(annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False))
    async def rollback(
        ctx: Context, label: SessionName = "last", session: SessionName = "default"
    ) -> CallToolResult:
        """Put a session's variables back to what they were at a checkpoint."""
        sessions = _sessions(ctx)
        marked = sessions.marked(session, label)
        if marked is None:
            return _wrong(f"session {session} has no checkpoint {label}; make one first")
        try:
            await (await sessions.get(session)).rollback(marked)
        except SandboxError as error:
            return _failed(error)
        return CallToolResult(content=[_text(f"Back at checkpoint {label}.")])


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _failed(error: SandboxError) -> CallToolResult:
    return _wrong(f"{type(error).__name__}: {error}")


def _wrong(text: str) -> CallToolResult:
    return CallToolResult(content=[_text(text)], is_error=True)


def _now() -> float:
    return time.monotonic()
