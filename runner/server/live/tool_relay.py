"""Functions of a client that its snippets call: the calls go out as events, answers come back."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from runner.errors import RequestError
from runner.server.store.ids import new_id
from sandbox import Event, HostTool, PolicyError, RelayedTool, ToolError

TOOLS_CAP = 100
LONGEST_CALL_S = 3 * 3600.0
CALLS_CAP = 1_000
DOC_CHARS = 20_000
MESSAGE_CHARS = 64 * 1024


class ClientTool(BaseModel):
    """A function of the client: what a snippet sees of it."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200)
    doc: str = Field(default="", max_length=DOC_CHARS)
    parameters: list[tuple[str, int, bool, JsonValue]] | None = Field(default=None, max_length=100)
    """Rows of name, kind as `inspect.Parameter` counts them, whether it has a default, which."""
    is_async: bool = False
    timeout_s: float = Field(default=60.0, gt=0, le=LONGEST_CALL_S)
    max_calls: int = Field(default=CALLS_CAP, ge=1, le=CALLS_CAP)


class CallError(BaseModel):
    """What the client's function raised."""

    model_config = ConfigDict(extra="forbid")
    type: str = Field(min_length=1, max_length=200)
    message: str = Field(default="", max_length=MESSAGE_CHARS)


class CallResult(BaseModel):
    """The answer to one call: a result, or an error."""

    model_config = ConfigDict(extra="forbid")
    call_id: str = Field(max_length=100)
    result: JsonValue = None
    error: CallError | None = None


class ToolCalled(NamedTuple):
    """A snippet calls a function of the client."""

    call_id: str
    name: str
    args: list[Any]
    kwargs: dict[str, Any]


class AwaitedResults:
    """Calls that wait for their clients, of all sessions."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str, str], asyncio.Future[CallResult]] = {}

    def expect(self, owner: str, session_id: str) -> "tuple[str, asyncio.Future[CallResult]]":
        """A new call's id and its answer to be."""
        call_id = new_id("call")
        future: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
        self._waiting[owner, session_id, call_id] = future
        return call_id, future

    def forget(self, owner: str, session_id: str, call_id: str) -> None:
        """Take no answer any more."""
        self._waiting.pop((owner, session_id, call_id), None)

    def has(self, owner: str, session_id: str, call_id: str) -> bool:
        """Whether this call waits."""
        found = self._waiting.get((owner, session_id, call_id))
        return found is not None and not found.done()

    def answer(self, owner: str, session_id: str, result: CallResult) -> None:
        """Hand an answer over. Raises RequestError for a call that does not wait."""
        found = self._waiting.get((owner, session_id, result.call_id))
        if found is None or found.done():
            message = f"No call {result.call_id!r} waits: its snippet is over, or it was answered."
            raise RequestError("not_found", message, param="call_id")
        found.set_result(result)


class ToolRelay:
    """The functions of one run, and its calls on their way to the client."""

    def __init__(
        self, awaited: AwaitedResults, owner: str, session_id: str, tools: Sequence[ClientTool]
    ) -> None:
        """Raises RequestError."""
        self._awaited = awaited
        self._owner = owner
        self._session_id = session_id
        self._calls: asyncio.Queue[ToolCalled] = asyncio.Queue()
        names = [tool.name for tool in tools]
        if len(names) > TOOLS_CAP or len(set(names)) < len(names):
            message = f"tools must be at most {TOOLS_CAP}, each with a name of its own."
            raise RequestError("invalid", message, param="tools")
        try:
            self.tools: dict[str, HostTool] = {tool.name: self._relayed(tool) for tool in tools}
        except PolicyError as error:
            raise RequestError("invalid", str(error), param="tools") from error

    async def events(
        self, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event | ToolCalled, None]:
        """The run's events with its calls among them; closes `events` when it is closed."""
        event = asyncio.ensure_future(_next(events))
        call = asyncio.ensure_future(self._calls.get())
        try:
            while True:
                await asyncio.wait({event, call}, return_when=asyncio.FIRST_COMPLETED)
                if call.done():
                    yield call.result()
                    call = asyncio.ensure_future(self._calls.get())
                elif (found := event.result()) is None:
                    return
                else:
                    yield found
                    event = asyncio.ensure_future(_next(events))
        finally:
            for task in (event, call):
                task.cancel()
            await asyncio.wait({event, call})
            await events.aclose()

    def _relayed(self, tool: ClientTool) -> RelayedTool:
        rows = {} if tool.parameters is None else {"parameters": tool.parameters}
        return RelayedTool(
            tool.name,
            self._relay_of(tool.name),
            doc=tool.doc,
            is_async=tool.is_async,
            timeout_s=tool.timeout_s,
            max_calls=tool.max_calls,
            **rows,
        )

    def _relay_of(self, name: str) -> Callable[[list[Any], dict[str, Any]], Any]:
        async def relay(args: list[Any], kwargs: dict[str, Any]) -> Any:
            call_id, answer = self._awaited.expect(self._owner, self._session_id)
            self._calls.put_nowait(ToolCalled(call_id, name, args, kwargs))
            try:
                found = await answer
            finally:
                self._awaited.forget(self._owner, self._session_id, call_id)
            if found.error is not None:
                raise ToolError(found.error.type, found.error.message)
            return found.result

        return relay


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
