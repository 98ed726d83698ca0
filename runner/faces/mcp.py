"""Model Context Protocol: tools that run Python and commands in named sessions of one sandbox.

A session belongs to its name in a call's arguments and not to a connection: the protocol's newer
revision has no connections that last. Source: the package mcp, version 2, `MCPServer`.
"""

import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Annotated, Any, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp_types import (
    CallToolResult,
    ContentBlock,
    ImageContent,
    TextContent,
    ToolAnnotations,
)
from pydantic import Field

from runner.errors import RunnerError
from runner.faces.mcp_sessions import BoxSource, Sessions, Source
from runner.faces.shell import ending_of, said_by, shown, status_of
from runner.transcript import encodable
from sandbox import (
    AsyncSandbox,
    AsyncSession,
    Displayed,
    Event,
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
SHOWN_CHARS = 30_000
FILE_CAP_BYTES = 8 * 1024 * 1024
CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
PROGRESS_S = 1.0
PYTHON_S = 60.0
PYTHON_INSTRUCTIONS = (
    "Runs Python code in a stateful session without a network. The value of the last expression"
    " and what was printed come back; files are in /mnt/data and persist with the session."
)
ERRORS = (SandboxError, RunnerError)
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
SessionName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Which session; made when it is new.")
]
TimeoutS = Annotated[float, Field(gt=0, le=3600, description="Seconds it may take.")]


def make_server(policy: Policy | None = None) -> MCPServer[Sessions]:
    """A server with all tools; its sandbox starts and ends with the server's own run."""
    return _server(_own_sandbox(policy or Policy()))


def make_server_over(source: Source) -> MCPServer[Sessions]:
    """A server with all tools over sessions of `source`; they end with the server's own run."""
    return _server(_over(source))


def make_python_server(source: Source) -> MCPServer[Sessions]:
    """A server of the name `python` with one tool `python`, as servers of gpt-oss models call it.

    Each of its runs, one connection over SSE, has one session of its own.
    """
    server: MCPServer[Sessions] = MCPServer(
        "python", title="Cellblock", instructions=PYTHON_INSTRUCTIONS, lifespan=_over(source)
    )

    @server.tool(
        title="Run Python",
        annotations=ToolAnnotations(read_only_hint=False, open_world_hint=False),
    )
    async def python(
        ctx: Context, code: Annotated[str, Field(description="Python source.")]
    ) -> CallToolResult:
        """Run Python code in this connection's session; variables persist between calls."""
        return await _run_python(ctx, code, "default", Limits(wall_s=PYTHON_S, cpu_s=PYTHON_S))

    return server


def _server(lifespan: Any) -> MCPServer[Sessions]:
    server: MCPServer[Sessions] = MCPServer(
        NAME, title="Cellblock", instructions=INSTRUCTIONS, lifespan=lifespan
    )
    _add_running(server)
    _add_files(server)
    _add_state(server)
    return server


def _own_sandbox(policy: Policy) -> Any:
    @asynccontextmanager
    async def opened(server: MCPServer[Sessions]) -> AsyncIterator[Sessions]:
        async with AsyncSandbox(policy) as box, _over(BoxSource(box))(server) as sessions:
            yield sessions

    return opened


def _over(source: Source) -> Any:
    @asynccontextmanager
    async def opened(_server: MCPServer[Sessions]) -> AsyncIterator[Sessions]:
        sessions = Sessions(source)
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
        return await _run_python(ctx, code, session, Limits(wall_s=timeout_s, cpu_s=timeout_s))

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
        sessions = _sessions(ctx)
        limits = sessions.source.limits(Limits(wall_s=timeout_s))
        try:
            async with sessions.use(session) as live:
                done = await live.exec(command, timeout_s=limits.wall_s)
        except ERRORS as error:
            return _failed(error)
        sessions.source.commanded(live, command, done)
        stderr = done.stderr.decode("utf-8", "replace")
        said = said_by(done, SHOWN_CHARS)
        return CallToolResult(
            content=[_text(f"{said}\n{ending_of(done)}" if said else ending_of(done))],
            structured_content={
                "exit_code": done.exit_code,
                "signal": done.signal,
                "timed_out": done.timed_out,
                "limit": done.limit,
                "stdout": shown(done.text, SHOWN_CHARS),
                "stderr": shown(stderr, SHOWN_CHARS),
            },
            is_error=status_of(done) != 0,
        )


async def _run_python(ctx: Context, code: str, session: str, limits: Limits) -> CallToolResult:
    sessions = _sessions(ctx)
    try:
        async with sessions.use(session) as live:
            outcome = await _run(live, code, sessions.source.limits(limits), ctx)
    except ERRORS as error:
        return _failed(error)
    sessions.source.ran(live, code, outcome)
    return result_of(outcome)


async def _run(live: AsyncSession, code: str, limits: Limits, ctx: Context) -> Outcome:
    """The outcome of `code`; what it prints is told as progress, at most once a second."""
    told, seen = 0.0, 0
    async with aclosing(_events(live, code, limits)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event.outcome
            if isinstance(event, Stdout | Stderr | Displayed):
                seen += 1
                if _now() - told >= PROGRESS_S:
                    told = _now()
                    shown = event.text.rstrip() if isinstance(event, Stdout | Stderr) else "shows"
                    last = shown.rpartition("\n")[2][:200]
                    await ctx.report_progress(float(seen), message=last)
    raise AssertionError("a stream ends with its outcome")


async def _events(live: AsyncSession, code: str, limits: Limits) -> AsyncGenerator[Event, None]:
    """The events of `code`; closing ends the snippet."""
    events = live.stream(code, limits=limits)
    try:
        async for event in events:
            yield event
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


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
            "stdout": shown(outcome.stdout, SHOWN_CHARS),
            "stderr": shown(outcome.stderr, SHOWN_CHARS),
            "files": [artifact.path for artifact in outcome.artifacts],
            "wall_s": outcome.usage.wall_s,
            **_ending(outcome),
        },
        is_error=outcome.status != "completed",
    )


def _ending(outcome: Outcome) -> dict[str, Any]:
    """Why an outcome is no `completed` one."""
    if outcome.status == "raised":
        told = outcome.error
        error = {"type": told.type, "message": told.message, "traceback": told.traceback}
        return {"error": {name: shown(text, SHOWN_CHARS) for name, text in error.items()}}
    names = {
        "limit_exceeded": ("limit", "allowed", "observed"),
        "died": ("exit_code", "signal"),
        "refused": ("reason", "line"),
    }.get(outcome.status, ())
    return {name: getattr(outcome, name) for name in names}


# ---- files --------------------------------------------------------------------------------------


def _add_files(server: MCPServer[Sessions]) -> None:
    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    async def list_files(ctx: Context, session: SessionName = "default") -> CallToolResult:
        """List the files of a session's workspace, /mnt/data."""
        try:
            async with _sessions(ctx).use(session) as live:
                # What of a name is no UTF-8 is escaped: no message could carry it.
                names = [encodable(name) for name in await live.files()]
        except ERRORS as error:
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
            async with _sessions(ctx).use(session) as live:
                size = (await live.stat(path)).size_bytes
                if size > FILE_CAP_BYTES:
                    return _wrong(f"{path} has {size} bytes, at most {FILE_CAP_BYTES} are sent")
                data = await live.get(path)
        except ERRORS as error:
            return _failed(error)
        text, encoding = _shown_file(data)
        return CallToolResult(
            content=[_text(text)],
            structured_content={"path": path, "encoding": encoding, "size_bytes": len(data)},
        )

    @server.resource(
        "cellblock://{session}/{+path}",
        title="A file of a session",
        mime_type="application/octet-stream",
    )
    async def file(session: str, path: str, ctx: Context) -> bytes:
        """A file below /mnt/data of a session that is open, up to 8 MiB."""
        sessions = _sessions(ctx)
        if not sessions.has(session):
            problem = f"there is no session {session[:64]!r}; a call of run_python opens it"
            raise ResourceError(problem)
        try:
            async with sessions.use(session) as live:
                found = await live.stat(path)
                if found.size_bytes > FILE_CAP_BYTES:
                    raise ResourceError(f"it has over {FILE_CAP_BYTES} bytes")
                return await live.get(path)
        except ERRORS as error:
            raise ResourceError(str(error)) from error

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
            async with _sessions(ctx).use(session) as live:
                await live.put(path, data)
        except ERRORS as error:
            return _failed(error)
        return CallToolResult(content=[_text(f"Wrote {path}.")], structured_content={"path": path})


def _shown_file(data: bytes) -> tuple[str, str]:
    """The content of a file as a message carries it, and in which encoding.

    Control characters take six characters each: what has many of them is no text.
    """
    controls = len(data) - len(data.translate(None, CONTROLS))
    if controls * 8 <= len(data):
        with suppress(UnicodeDecodeError):
            return data.decode(), "utf-8"
    return base64.b64encode(data).decode(), "base64"


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
            async with sessions.use(session) as live:
                sessions.mark(session, label, await live.checkpoint(label))
        except ERRORS as error:
            return _failed(error)
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
            async with sessions.use(session) as live:
                await live.rollback(marked)
        except ERRORS as error:
            return _failed(error)
        return CallToolResult(content=[_text(f"Back at checkpoint {label}.")])


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=encodable(text))


def _failed(error: Exception) -> CallToolResult:
    return _wrong(f"{type(error).__name__}: {error}")


def _wrong(text: str) -> CallToolResult:
    return CallToolResult(content=[_text(text)], is_error=True)


def _now() -> float:
    return time.monotonic()
