"""Programs that call the client's tools: each call is answered by the client's next request.

The program runs on between its requests, in a session with a slot of its own. A client that leaves
while it is waited for, or brings no result in time, ends it.
"""

import asyncio
import keyword
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from runner.errors import RequestError
from runner.server.accounts import Account
from runner.server.librechat.runs import CODE_CHARS, FILES_MOST, ExecRequest, FileRef, execute
from runner.server.services import Services
from sandbox import Limits

TOOLS_MOST = 200
NAME_CHARS = 200
CALLS_MOST = 1000
RESULT_S = 300.0
"""So long a program waits for the result of a call."""
TOGETHER_S = 0.02
"""Calls that a program makes at once are told together."""
Tool = Callable[..., Awaitable[Any]]


class ToolNamed(BaseModel):
    """A tool of the client's; its schema is for the model that writes programs."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str = Field(min_length=1, max_length=NAME_CHARS)


class ToolResult(BaseModel):
    """What a call gave."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    call_id: str = Field(max_length=NAME_CHARS)
    result: JsonValue = None
    is_error: bool = False
    error_message: str | None = None


class ProgramRequest(BaseModel):
    """A program that begins, or results for one that waits."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str = Field(default="", max_length=CODE_CHARS)
    tools: list[ToolNamed] = Field(default=[], max_length=TOOLS_MOST)
    timeout: float | None = Field(default=None, gt=0)
    """Milliseconds."""
    files: list[FileRef] = Field(default=[], max_length=FILES_MOST)
    continuation_token: str = ""
    tool_results: list[ToolResult] = Field(default=[], max_length=CALLS_MOST)


class Program:
    """One program, and the calls of it that wait."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.token = secrets.token_urlsafe(24)
        self.task: asyncio.Task[dict[str, Any]] | None = None
        self._calls: list[dict[str, Any]] = []
        self._has_called = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[ToolResult]] = {}
        self._count = 0

    def tool(self, name: str) -> Tool:
        """The function that a program calls for the client's tool `name`."""

        async def call(**arguments: Any) -> Any:
            return await self._ask(name, arguments)

        return call

    async def progress(self) -> dict[str, Any]:
        """What a client is told next: calls that wait, or the end. Raises as `execute` does."""
        assert self.task is not None
        called = asyncio.create_task(self._has_called.wait())
        try:
            await asyncio.wait({self.task, called}, return_when=asyncio.FIRST_COMPLETED)
            if not self.task.done():
                await asyncio.wait({self.task}, timeout=TOGETHER_S)
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        finally:
            called.cancel()
        if self.task.done():
            return {"status": "completed"} | self.task.result()
        calls, self._calls = self._calls, []
        self._has_called.clear()
        return {
            "status": "tool_call_required",
            "continuation_token": self.token,
            "tool_calls": calls,
        }

    def take(self, results: list[ToolResult]) -> None:
        """Give results to the calls that wait for them."""
        for one in results:
            waits = self._waiting.pop(one.call_id, None)
            if waits is not None and not waits.done():
                waits.set_result(one)

    async def _ask(self, name: str, arguments: dict[str, Any]) -> Any:
        self._count += 1
        call_id = f"call_{self._count:03}"
        if self._count > CALLS_MOST:
            raise RuntimeError(f"a program may call tools {CALLS_MOST} times")
        self._waiting[call_id] = answer = asyncio.get_running_loop().create_future()
        self._calls.append({"id": call_id, "name": name, "input": arguments})
        self._has_called.set()
        try:
            async with asyncio.timeout(RESULT_S):
                found = await answer
        except TimeoutError:
            if self.task is not None:
                self.task.cancel()
            raise
        if found.is_error:
            raise RuntimeError(found.error_message or "the tool failed")
        return found.result


class Programs:
    """Programs that have begun, by their tokens."""

    def __init__(self) -> None:
        self._programs: dict[str, Program] = {}

    async def answer(
        self, services: Services, account: Account, wanted: ProgramRequest
    ) -> dict[str, Any]:
        """Begin a program or go on with one; what to tell. Raises RequestError, SandboxError."""
        if wanted.continuation_token:
            program = self._programs.get(wanted.continuation_token)
            if program is None or program.owner != account.owner:
                raise RequestError("not_found", "There is no program that waits for results.")
            program.take(wanted.tool_results)
        else:
            program = self._begin(services, account, wanted)
        try:
            told = await program.progress()
        except BaseException:
            self._programs.pop(program.token, None)
            raise
        if told["status"] == "completed":
            self._programs.pop(program.token, None)
        return told

    async def close(self) -> None:
        """End all."""
        tasks = {one.task for one in self._programs.values() if one.task is not None}
        self._programs.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, services: Services, account: Account, wanted: ProgramRequest) -> Program:
        if not wanted.code:
            raise RequestError("invalid", "code: there is none.", param="code")
        # Those that ended with no client to tell.
        for token, one in list(self._programs.items()):
            if one.task is not None and one.task.done():
                del self._programs[token]
        program = Program(account.owner)
        tools = {python_name(one.name): program.tool(one.name) for one in wanted.tools}
        asked = ExecRequest(lang="py", code=wanted.code, files=wanted.files)
        wall_s = services.box.policy.limits.wall_s
        if wanted.timeout is not None:
            wall_s = min(wall_s, wanted.timeout / 1000)
        work = execute(services, account, asked, tools=tools, limits=Limits(wall_s=wall_s))
        program.task = asyncio.create_task(work)
        self._programs[program.token] = program
        return program


def python_name(name: str) -> str:
    """What a program calls the tool `name`; as the client's package tells its model."""
    found = re.sub(r"[^a-zA-Z0-9_]", "", re.sub(r"[-\s]", "_", name))
    if not found:
        raise RequestError("invalid", f"A tool cannot be named {name!r}.", param="tools")
    if found[0].isdigit():
        found = f"_{found}"
    return f"{found}_tool" if keyword.iskeyword(found) else found
