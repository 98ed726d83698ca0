"""Tools of any MCP server as functions that snippets call: one program in place of twenty calls.

A connection lives in a task of a thread of its own, so that both faces of the engine can use it
from whatever loop they run on. Source: the package mcp, version 2, `client/client.py`.
"""

import asyncio
import builtins
import inspect
import keyword
import re
import shlex
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx2
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent, Tool

from runner.errors import RunnerError
from runner.tools.mcp_call import McpAnswer, McpToolFacts
from runner.transcript import compact
from sandbox import HostTool, RelayedTool, ToolError

CONNECT_S = 30.0
CLOSE_S = 10.0
CALL_S = 60.0
CALLS_CAP = 1000
TOOLS_CAP = 100
PAGES_CAP = 20
PARAMETERS_CAP = 100
LINE_CHARS = 300
FAILED = "McpError"
"""The `type` of a ToolError that a server's own error becomes."""
POSITIONAL = int(inspect.Parameter.POSITIONAL_OR_KEYWORD)
VAR_KEYWORD = int(inspect.Parameter.VAR_KEYWORD)
NO_NAME = re.compile(r"\W+")
T = TypeVar("T")


class McpFailed(RunnerError):
    """A server of tools was not reached, or is none. `server` is as it was named."""

    def __init__(self, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"The MCP server {server} gives no tools: {problem}.")


class Signature(NamedTuple):
    """A tool as a function: its parameters, and what each is called at the server."""

    name: str
    rows: tuple[tuple[str, int, bool, Any], ...]
    properties: Mapping[str, str]
    doc: str

    @property
    def line(self) -> str:
        """The function in one line, for a model."""
        parts = []
        for name, kind, has_default, default in self.rows:
            star = "**" if kind == VAR_KEYWORD else ""
            parts.append(f"{star}{name}={default!r}" if has_default else f"{star}{name}")
        first = self.doc.strip().partition("\n")[0]
        return f"{self.name}({', '.join(parts)}): {first}"[:LINE_CHARS]


class McpTools(Mapping[str, HostTool]):
    """Functions of a server, by name: what `tools=` takes. Close it, or enter it."""

    def __init__(self, connection: "_Connection", tools: Mapping[str, HostTool]) -> None:
        self._connection = connection
        self._tools = dict(tools)
        self.signatures: dict[str, Signature] = {}
        self.found: tuple[Tool, ...] = ()

    def __getitem__(self, name: str) -> HostTool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def described(self) -> str:
        """The functions, a line each, for a model."""
        return "\n".join(signature.line for signature in self.signatures.values())

    @property
    def listed(self) -> tuple[McpToolFacts, ...]:
        """The tools as the server lists them, for a model that calls them itself."""
        return tuple(
            McpToolFacts(
                tool.name,
                tool.description or tool.title or "",
                tool.input_schema,
                None
                if tool.annotations is None
                else tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True),
            )
            for tool in self.found
        )

    @property
    def is_open(self) -> bool:
        """Whether the connection holds."""
        return self._connection.is_open

    async def call(self, name: str, arguments: Mapping[str, Any]) -> McpAnswer:
        """Call a tool by the server's own name for it; an error is an answer."""
        try:
            found = await _there(_asked(self._connection, name, dict(arguments)))
        except ToolError as error:
            return McpAnswer(str(error), is_error=True)
        return McpAnswer(_whole_text(found), is_error=bool(found.is_error))

    async def close(self) -> None:
        """End the connection, and a server that was started for it. May be called again."""
        await _there(self._connection.close())

    def close_now(self) -> None:
        """Do the same, for programs without an event loop."""
        _wait(self._connection.close(), CLOSE_S * 2)


async def mcp_tools(
    server: str | Sequence[str],
    *,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    allowed: Sequence[str] | None = None,
    prefix: str = "",
    timeout_s: float = CALL_S,
    max_calls: int = CALLS_CAP,
) -> McpTools:
    """The tools of the server at a URL, or of one that a command starts, as functions.

    A text that begins with `http` is a URL, of SSE where it ends with `/sse`; another is a
    command, run on this machine as this user. `headers` go with each request, `env` is the
    command's. Only the tools that `allowed` names are there, if it is given; `prefix` begins each
    function's name. A call may take `timeout_s`, a snippet make `max_calls` of each. Raises
    McpFailed.
    """
    work = _opened(server, headers, env, allowed, prefix, timeout_s, max_calls)
    return await _there(work)


def mcp_tools_now(server: str | Sequence[str], **options: Any) -> McpTools:
    """`mcp_tools` for programs without an event loop. Raises McpFailed."""
    work = _opened(
        server,
        options.get("headers"),
        options.get("env"),
        options.get("allowed"),
        options.get("prefix", ""),
        options.get("timeout_s", CALL_S),
        options.get("max_calls", CALLS_CAP),
    )
    return _wait(work, CONNECT_S * 2)


# ---- the connection -----------------------------------------------------------------------------


class _Connection:
    """A client in a task of its own: what a scope of the client opened, that task closes."""

    def __init__(self, name: str, target: Any, timeout_s: float) -> None:
        self.name = name
        self._target = target
        self._timeout_s = timeout_s
        self._stop = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._live())

    async def client(self) -> Client:
        """The client, connected. Raises McpFailed."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.shield(self._client)
        except TimeoutError:
            self._task.cancel()
            raise McpFailed(self.name, f"it did not answer within {CONNECT_S:g} s") from None

    async def close(self) -> None:
        self._stop.set()
        done, _ = await asyncio.wait([self._task], timeout=CLOSE_S)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)

    @property
    def is_open(self) -> bool:
        return not self._task.done() and not self._stop.is_set()

    async def _live(self) -> None:
        try:
            async with Client(self._target, read_timeout_seconds=self._timeout_s) as client:
                self._client.set_result(client)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever a transport raises
            if not self._client.done():
                self._client.set_exception(McpFailed(self.name, _said(error)))
        finally:
            if not self._client.done():
                self._client.set_exception(McpFailed(self.name, "its connection was closed"))
            self._client.exception()  # It was told, or nothing waits for it.


async def _opened(
    server: str | Sequence[str],
    headers: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
    allowed: Sequence[str] | None,
    prefix: str,
    timeout_s: float,
    max_calls: int,
) -> McpTools:
    name, target = _target(server, headers, env)
    connection = _Connection(name, target, timeout_s)
    try:
        found = await _listed(await connection.client(), name)
        if allowed is not None:
            if absent := set(allowed) - {tool.name for tool in found}:
                raise McpFailed(name, f"it has no tool {', '.join(sorted(absent))}")
            found = [tool for tool in found if tool.name in allowed]
        if len(found) > TOOLS_CAP:
            raise McpFailed(name, f"it has {len(found)} tools; name at most {TOOLS_CAP} of them")
        tools: dict[str, HostTool] = {}
        made = McpTools(connection, tools)
        for tool in found:
            signature = signature_of(tool, taken=tools, prefix=prefix)
            tools[signature.name] = RelayedTool(
                signature.name,
                _relay_of(connection, tool, signature),
                doc=signature.doc,
                parameters=signature.rows,
                is_async=False,
                timeout_s=timeout_s,
                max_calls=max_calls,
            )
            made.signatures[signature.name] = signature
        made._tools = tools
        made.found = tuple(found)
        return made
    except BaseException:
        await connection.close()
        raise


def _target(
    server: str | Sequence[str], headers: Mapping[str, str] | None, env: Mapping[str, str] | None
) -> tuple[str, Any]:
    if isinstance(server, str) and server.startswith(("http://", "https://")):
        if server.rstrip("/").endswith("/sse"):
            return server, sse_client(server, headers=dict(headers or {}))
        # Not where it redirects to: a header may be a secret, and an address is what was allowed.
        http = httpx2.AsyncClient(
            headers=dict(headers or {}), follow_redirects=False, timeout=httpx2.Timeout(CONNECT_S)
        )
        return server, streamable_http_client(server, http_client=http)
    try:
        words = shlex.split(server) if isinstance(server, str) else list(server)
    except ValueError as error:
        raise McpFailed(repr(server), f"it is no command: {_said(error)}") from None
    if not words:
        raise McpFailed("''", "give a URL or a command")
    given = None if env is None else dict(env)
    return words[0], StdioServerParameters(command=words[0], args=words[1:], env=given)


async def _listed(client: Client, name: str) -> list[Tool]:
    found: list[Tool] = []
    cursor: str | None = None
    try:
        for _ in range(PAGES_CAP):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found
    except Exception as error:
        raise McpFailed(name, _said(error)) from error
    raise McpFailed(name, f"its list of tools has over {PAGES_CAP} pages")


def _relay_of(connection: _Connection, tool: Tool, signature: Signature) -> Any:
    names = [row[0] for row in signature.rows if row[1] == POSITIONAL]

    async def relay(args: list[Any], kwargs: dict[str, Any]) -> Any:
        arguments = _bound(signature, names, args, kwargs)
        return await _there(_called(connection, tool, arguments))

    return relay


def _bound(
    signature: Signature, names: Sequence[str], args: list[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments by the names that the server has for them. Raises TypeError."""
    if len(args) > len(names):
        raise TypeError(f"{signature.name}() takes {len(names)} arguments and got {len(args)}")
    given = dict(zip(names, args, strict=False))
    if twice := given.keys() & kwargs.keys():
        raise TypeError(f"{signature.name}() got {', '.join(sorted(twice))} twice")
    given |= kwargs
    takes_more = any(row[1] == VAR_KEYWORD for row in signature.rows)
    if not takes_more and (unknown := given.keys() - set(names)):
        raise TypeError(f"{signature.name}() takes no {', '.join(sorted(unknown))}")
    needed = {row[0] for row in signature.rows if row[1] == POSITIONAL and not row[2]}
    if missing := needed - given.keys():
        raise TypeError(f"{signature.name}() needs {', '.join(sorted(missing))}")
    return {signature.properties.get(name, name): value for name, value in given.items()}


async def _called(connection: _Connection, tool: Tool, arguments: dict[str, Any]) -> Any:
    found = await _asked(connection, tool.name, arguments)
    if found.is_error:
        raise ToolError(FAILED, _text_of(found) or "the tool failed and said nothing")
    return _value_of(found, tool)


async def _asked(connection: _Connection, name: str, arguments: dict[str, Any]) -> CallToolResult:
    """What the server answers. Raises ToolError where it answers nothing."""
    if not connection.is_open:
        raise ToolError(FAILED, f"the connection to {connection.name} is closed")
    try:
        client = await connection.client()
        return await client.call_tool(name, arguments)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        raise ToolError(FAILED, _said(error)) from error


def _whole_text(found: CallToolResult) -> str:
    """A result as text: its texts, a line for what is none, or its structure."""
    parts = [
        part.text if isinstance(part, TextContent) else f"[{part.type}, not shown]"
        for part in found.content
    ]
    if not parts and found.structured_content is not None:
        return compact(found.structured_content)
    return "\n".join(parts)


def _value_of(found: CallToolResult, tool: Tool) -> Any:
    """What a tool gave: its structured result, or its texts and the rest of its content."""
    if found.structured_content is not None:
        properties = (tool.output_schema or {}).get("properties") or {}
        content = found.structured_content
        # A result that is no object comes in one, by the protocol's rule.
        is_wrapped = set(properties) == {"result"} and isinstance(content, dict)
        return content["result"] if is_wrapped and set(content) == {"result"} else content
    parts = [
        part.text if isinstance(part, TextContent) else part.model_dump(mode="json", by_alias=True)
        for part in found.content
    ]
    return None if not parts else parts[0] if len(parts) == 1 else parts


def _text_of(found: CallToolResult) -> str:
    return "\n".join(part.text for part in found.content if isinstance(part, TextContent))


def _said(error: BaseException) -> str:
    """The first real error in `error`, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:LINE_CHARS].removesuffix(".")


# ---- names and signatures -----------------------------------------------------------------------


def signature_of(tool: Tool, *, taken: Mapping[str, object], prefix: str) -> Signature:
    """A tool as a function: a name that Python takes and nothing has, parameters of its schema."""
    schema = tool.input_schema
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = [name for name in schema.get("required") or [] if name in properties]
    ordered = [*required, *(name for name in properties if name not in required)]
    rows: list[tuple[str, int, bool, Any]] = []
    names: dict[str, str] = {}
    lines = []
    for original in ordered[:PARAMETERS_CAP]:
        about = properties[original] if isinstance(properties[original], dict) else {}
        name = _free(_identifier(str(original), builtin=True), names)
        names[name] = str(original)
        default = about.get("default")
        plain = default if isinstance(default, bool | int | float | str) else None
        rows.append((name, POSITIONAL, original not in required, plain))
        lines.append(f"    {name} ({_kind(about)}): {about.get('description') or ''}".rstrip(": "))
    if not properties or schema.get("additionalProperties") is True:
        rows.append((_free("more", names), VAR_KEYWORD, False, None))
    doc = [tool.description or tool.title or tool.name]
    if lines:
        doc += ["", "Arguments:", *lines]
    if tool.output_schema:
        doc += ["", f"Gives: {_kind(tool.output_schema)}"]
    name = _free(_identifier(prefix + tool.name), taken)
    return Signature(name, tuple(rows), names, "\n".join(doc))


def _identifier(text: str, *, builtin: bool = False) -> str:
    """A name that Python takes; of a function, none that a snippet has anyway."""
    found = NO_NAME.sub("_", text).strip("_") or "tool"
    if not found.isidentifier():
        found = f"_{found}"
    is_taken = keyword.iskeyword(found) or (not builtin and hasattr(builtins, found))
    return (f"{found}_" if is_taken else found)[:100]


def _free(name: str, taken: Mapping[str, object]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _kind(about: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if isinstance(about.get("enum"), list):
        return "one of " + ", ".join(map(repr, about["enum"][:10]))
    kinds = about.get("type")
    if isinstance(kinds, list):
        return " or ".join(map(str, kinds))
    if kinds == "array" and isinstance(about.get("items"), dict):
        return f"array of {_kind(about['items'])}"
    if kinds == "object" and isinstance(about.get("properties"), dict):
        return f"object with {', '.join(map(str, list(about['properties'])[:20]))}"
    if isinstance(about.get("anyOf"), list):
        parts = [_kind(one) for one in about["anyOf"][:5] if isinstance(one, dict)]
        return " or ".join(parts)
    return str(kinds or "any")


# ---- the thread ---------------------------------------------------------------------------------

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _own_loop() -> asyncio.AbstractEventLoop:
    """The loop of connections, in a thread that is made on first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="cellblock-mcp", daemon=True).start()
        return _loop


async def _there(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives on the loop of connections; cancelled with its caller."""
    loop = _own_loop()
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


def _wait(work: Coroutine[Any, Any, T], within_s: float) -> T:
    return asyncio.run_coroutine_threadsafe(work, _own_loop()).result(within_s)
