"""Functions of the host that a snippet may call, checked on their way in and out.

What a snippet sends is bounded, is JSON, and is validated by pydantic against the function's own
hints before the function sees it. An exception crosses as the name of a built-in type and its
message; no traceback of the host does.
"""

import asyncio
import builtins
import inspect
import json
import keyword
import math
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError, validate_call
from pydantic_core import PydanticSerializationError, to_jsonable_python

from sandbox.errors import PolicyError
from sandbox.outcome import HostCall, ToolFailure
from sandbox.policy.arguments import check_number, check_text, check_type, shown
from sandbox.processes.host_channel import HeldMemory
from sandbox.protocol.long_json import read_long_json
from sandbox.protocol.messages import ANSWER_CAP, ToolAnswer, ToolCall

TIMEOUT_S = 60.0
CALLS_CAP = 1_000
UNDER_WAY_CAP = 64
"""A guest of ours waits before: with 24 from an event loop, one from each thread."""
TOOLS_CAP = 100
SPECS_CAP = 1 << 20
KEPT_CHARS = 64 * 1024
"""Of a call's arguments or result, in the outcome; a longer one is described instead."""
KEPT_IN_ALL_CHARS = 2_000_000
"""Of all calls of a snippet; what comes later is described."""
PARTS_CAP = 100_000
"""Values in the arguments of one call, about: `[],` is a list of 64 bytes to its reader."""
PART_BYTES = 64
PARSED_HERE_CHARS = 64 * 1024
UNREAD_CAP_BYTES = 1 << 16
"""Answers that a snippet has not read; with more its next calls wait."""
UNREAD_CHECK_S = 0.01
UNREAD_WITHIN_S = 30.0
TOO_MANY = "the calls under way have too many arguments; wait for some of them first"
APPROVAL_WITHIN_S = 3600.0
ENDED_BEFORE = "the snippet ended before the answer"
APPROVE_RIGHT = "Give a function of the call's name and arguments that says True or False"
PLAIN_DEFAULTS = (bool, int, float, str, type(None))
TOOLS_RIGHT = 'Give functions by name, as in tools={"search": search}'
Approve = Callable[[str, Mapping[str, Any]], "Awaitable[bool] | bool"]


class ToolError(Exception):
    """Raise it in a host function: a snippet catches `ToolError` with this type and message."""

    def __init__(self, type: str, message: str = "") -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message


@dataclass(frozen=True)
class HostTool:
    """A function for snippets, with limits of its own."""

    function: Callable[..., Any]
    timeout_s: float = TIMEOUT_S
    """For one call, without the time that an approval takes."""
    max_calls: int = CALLS_CAP
    """By one snippet."""
    approve: Approve | None = None
    """Asked before each call; a call that is not approved raises PermissionError in the snippet."""
    _checked: Callable[..., Any] = field(init=False, repr=False, compare=False)
    _result: TypeAdapter[Any] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise PolicyError("tools", f"has {self.function!r}", "Give functions")
        check_number("timeout_s", self.timeout_s, "Give seconds")
        check_number("max_calls", self.max_calls, "Give a whole number", kinds=(int,))
        if self.approve is not None and not callable(self.approve):
            raise PolicyError("approve", f"is {shown(self.approve)}", APPROVE_RIGHT)
        if not (self.timeout_s > 0 and self.max_calls > 0):
            raise PolicyError("tools", "has a limit that is not above 0", "Give numbers above 0")
        config = ConfigDict(arbitrary_types_allowed=True)
        try:
            returned = _returned(self.function)
            checked = validate_call(config=config)(self.function)
        except (PydanticUserError, ValueError, TypeError, NameError) as error:
            said = str(error).partition("\n")[0]
            problem = f"has {self.function!r}, which cannot be looked into: {said}"
            raise PolicyError("tools", problem, "Wrap it in a function of yours") from None
        object.__setattr__(self, "_checked", checked)
        known = returned is not inspect.Signature.empty
        object.__setattr__(self, "_result", TypeAdapter(returned, config=config) if known else None)

    def spec(self, name: str) -> dict[str, Any]:
        """What the guest makes its function of."""
        rows = []
        for parameter in inspect.signature(self.function).parameters.values():
            has_default = parameter.default is not inspect.Parameter.empty
            default = parameter.default if has_default else None
            is_odd = type(default) is float and not math.isfinite(default)
            if type(default) not in PLAIN_DEFAULTS or is_odd:
                default = str(default)[:200]
            rows.append([parameter.name, int(parameter.kind), has_default, default])
        return {
            "name": name,
            "doc": inspect.getdoc(self.function) or "",
            "parameters": rows,
            "is_async": inspect.iscoroutinefunction(self.function),
        }

    async def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The function's result as JSON has it. Raises what the function raises."""
        async with asyncio.timeout(self.timeout_s):
            if inspect.iscoroutinefunction(self.function):
                result = await self._checked(*args, **kwargs)
            else:
                result, error = await asyncio.to_thread(_called, self._checked, args, kwargs)
                if error is not None:
                    raise error
                if inspect.isawaitable(result):
                    result = await result
        try:
            if self._result is not None:
                return self._result.dump_python(self._result.validate_python(result), mode="json")
            return to_jsonable_python(result)
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"{part}: " for part in said["loc"])
            raise ResultRefused(f"what its hint is not: {place}{said['msg']}") from None
        except (PydanticSerializationError, UnicodeError, RecursionError):
            raise ResultRefused("what JSON has not") from None


class ResultRefused(Exception):
    """A function's result cannot be handed to the snippet."""


def _called(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    """What `function` returns, or raises: no future takes StopIteration or GeneratorExit."""
    try:
        return function(*args, **kwargs), None
    except StopIteration as error:
        return None, ToolError("StopIteration", _message(error))
    except BaseException as error:  # noqa: BLE001 - it is raised again, on the loop
        return None, error


def _returned(function: Callable[..., Any]) -> Any:
    """The hint of the result, read where it is written as a text; else `Signature.empty`."""
    found = inspect.signature(function).return_annotation
    if isinstance(found, str):
        try:
            return get_type_hints(function, include_extras=True).get("return", found)
        except (NameError, TypeError, AttributeError, SyntaxError):
            return inspect.Signature.empty
    return found


HostTools = Mapping[str, Callable[..., Any] | HostTool]
"""Functions by the names that snippets call them by."""


class Tools:
    """The functions that a session or one snippet may call, by name."""

    def __init__(self, tools: HostTools) -> None:
        check_type("tools", tools, Mapping, TOOLS_RIGHT)
        if len(tools) > TOOLS_CAP:
            raise PolicyError("tools", f"has {len(tools)}", f"Give at most {TOOLS_CAP}")
        for name in tools:
            check_text("tools", name, TOOLS_RIGHT)
            if not name.isidentifier() or keyword.iskeyword(name):
                raise PolicyError("tools", f"{name!r} is no name of a function")
        self._tools = {
            name: tool if isinstance(tool, HostTool) else HostTool(tool)
            for name, tool in tools.items()
        }
        self.specs = json.dumps([tool.spec(name) for name, tool in self._tools.items()])
        if len(self.specs) > SPECS_CAP:
            problem = f"have signatures and docstrings of {len(self.specs)} characters"
            raise PolicyError("tools", problem, f"Shorten them to {SPECS_CAP} in all")

    def __bool__(self) -> bool:
        return bool(self._tools)

    def beside(self, more: HostTools | None) -> "Tools":
        """These, and `more` that come before those of the same name. Raises PolicyError."""
        if more is None:
            return self
        check_type("tools", more, Mapping, TOOLS_RIGHT)
        return Tools({**self._tools, **more}) if more else self

    @property
    def functions(self) -> Mapping[str, HostTool]:
        """All of them, by name."""
        return self._tools

    def get(self, name: str) -> HostTool | None:
        """The function `name`."""
        return self._tools.get(name)


class Caller(Protocol):
    """Where the calls come from, and their answers go."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that were not read yet."""
        ...

    def send(self, message: ToolAnswer) -> None:
        """Send an answer."""
        ...


@dataclass(eq=False)
class _Begun:
    """A call under way; its arguments are known once they were read."""

    tool: HostTool
    message: ToolCall
    began: float
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


class ToolRun:
    """The calls of one snippet."""

    def __init__(
        self,
        tools: Tools,
        process: Caller,
        held: HeldMemory,
        on_clock: Callable[[bool], None],
        on_unread: Callable[[], None],
    ) -> None:
        """`on_clock` is told when the host begins to work for the snippet, and when it ends.

        `held` counts the arguments of calls under way; `on_unread` is called when the snippet
        does not read its answers.
        """
        self._began = time.monotonic()
        self._on_unread = on_unread
        self._held = held
        self.calls: list[HostCall] = []
        self.host_s = 0.0
        self._tools = tools
        self._process = process
        self._on_clock = on_clock
        self._counts: dict[str, int] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._begun: set[_Begun] = set()
        self._since = 0.0
        self._left_chars = KEPT_IN_ALL_CHARS
        self._is_over = False

    def begin(self, message: ToolCall) -> bool:
        """Carry out a call; False for one that no guest of ours sends."""
        tool = self._tools.get(message.name)
        if self._is_over or tool is None or len(self._under_way) >= UNDER_WAY_CAP:
            return False
        if not self._under_way:
            self._since = time.monotonic()
            self._on_clock(True)
        task = asyncio.get_running_loop().create_task(self._carry_out(tool, message))
        self._under_way.add(task)
        task.add_done_callback(self._on_done)
        return True

    def end(self) -> None:
        """Cancel what is under way: the snippet is over, and may call nothing more."""
        self._is_over = True
        for begun in self._begun:
            self._note(begun, None, ToolFailure(type="CancelledError", message=ENDED_BEFORE))
        self._begun.clear()
        for task in self._under_way:
            task.cancel()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not self._under_way:
            self.host_s += time.monotonic() - self._since
            self._on_clock(False)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _carry_out(self, tool: HostTool, message: ToolCall) -> None:
        """Call `tool` and send its answer; arguments for which there is no memory are refused."""
        cost = _cost(message.arguments)
        if not self._held.take(cost):
            self._process.send(ToolAnswer(message.id, "", "MemoryError", TOO_MANY))
            return
        try:
            await self._all_read()
            await self._call(tool, message)
        finally:
            self._held.give_back(cost)

    async def _all_read(self) -> None:
        """Wait until the snippet has read the answers before: the host holds them till then."""
        until = time.monotonic() + UNREAD_WITHIN_S
        while self._process.unsent_bytes > UNREAD_CAP_BYTES:
            if time.monotonic() > until:
                self._on_unread()  # Its clock stands still meanwhile.
                return
            await asyncio.sleep(UNREAD_CHECK_S)

    async def _call(self, tool: HostTool, message: ToolCall) -> None:
        begun = _Begun(tool, message, time.monotonic())
        self._begun.add(begun)
        result = ""
        failure: ToolFailure | None = None
        try:
            begun.args, begun.kwargs = await _arguments(message.arguments)
            await self._allow(tool, message.name, begun.args, begun.kwargs)
            result = json.dumps(await tool.call(begun.args, begun.kwargs), allow_nan=True)
            if len(result) > ANSWER_CAP:
                raise ToolError("ValueError", f"the result has more than {ANSWER_CAP} characters")
        # A host function may raise anything, and the snippet is told of it. SystemExit and
        # KeyboardInterrupt would end the loop, and any that is not told leave the snippet waiting.
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._is_over:
                raise
            failure = _failure(message.name, tool, error)
        if begun in self._begun:
            self._begun.discard(begun)
            self._note(begun, self._kept_result(result), failure)
        await self._all_read()
        kind, text = (failure.type, failure.message) if failure is not None else ("", "")
        self._process.send(ToolAnswer(message.id, "" if failure else result, kind, text))

    async def _allow(
        self, tool: HostTool, name: str, args: list[Any], kwargs: dict[str, Any]
    ) -> None:
        """Raise unless the call is one of those that there may be, and is approved."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count > tool.max_calls:
            raise PermissionError(f"{name} was called {tool.max_calls} times, which is the most")
        if tool.approve is None:
            return
        async with asyncio.timeout(APPROVAL_WITHIN_S):
            answer = tool.approve(name, inspect_arguments(tool, args, kwargs))
            approved = await answer if inspect.isawaitable(answer) else answer
        # A text such as "no" is none: what is not said in so many words is refused.
        if not isinstance(approved, bool):
            found = type(approved).__name__
            raise PermissionError(f"{name} was not approved: the approval gave a {found}, no bool")
        if not approved:
            raise PermissionError(f"{name} was not approved")

    def _note(self, begun: _Begun, result: Any, failure: ToolFailure | None) -> None:
        """Put a call on the list that the outcome has."""
        text = begun.message.arguments
        omitted: dict[str, Any] = {"omitted": len(text)}
        is_long = len(text) > KEPT_CHARS
        named = None if is_long else inspect_arguments(begun.tool, begun.args, begun.kwargs)
        self.calls.append(
            HostCall(
                name=begun.message.name,
                arguments=omitted if named is None else self._kept(named, omitted),
                result=result,
                error=failure,
                began_s=begun.began - self._began,
                wall_s=time.monotonic() - begun.began,
            )
        )

    def _kept_result(self, result: str) -> Any:
        if not result or len(result) > KEPT_CHARS:
            return f"{len(result)} characters" if result else None
        return self._kept(json.loads(result), f"{len(result)} characters")

    def _kept(self, value: Any, instead: Any) -> Any:
        """`value` for the outcome, or what describes it where it is long."""
        try:
            text = json.dumps(value, allow_nan=False)  # An outcome is JSON itself.
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        except (TypeError, ValueError, RecursionError):
            return instead
        # What is made of `[],` is many times as long.
        size = len(text) + PART_BYTES * _parts(text)
        if len(text) > KEPT_CHARS or size > self._left_chars:
            return instead
        self._left_chars -= size
        # Half a pair of surrogates is no text of an outcome.
        return json.loads(whole) if b"?" in whole else value


def inspect_arguments(tool: HostTool, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, as far as the function's signature names them."""
    try:
        bound = inspect.signature(tool.function).bind_partial(*args, **kwargs)
    except TypeError:
        return {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


async def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    if _parts(text) > PARTS_CAP:
        raise ValueError(f"the arguments have more than {PARTS_CAP} parts")
    try:
        is_long = len(text) > PARSED_HERE_CHARS
        raw = await asyncio.to_thread(_read_arguments, text) if is_long else json.loads(text)
        args, kwargs = raw["args"], raw["kwargs"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TypeError("the arguments are not what a snippet sends") from None
    if type(args) is not list or type(kwargs) is not dict:
        raise TypeError("the arguments are not what a snippet sends")
    return args, kwargs


def _read_arguments(text: str) -> Any:
    return read_long_json(text.encode())


def _parts(text: str) -> int:
    return sum(map(text.count, ",[{"))


def _cost(arguments: str) -> int:
    """Memory of a call's arguments as they came and as they are read, about."""
    return 3 * sys.getsizeof(arguments) + PART_BYTES * min(_parts(arguments), PARTS_CAP)


def _failure(name: str, tool: HostTool, error: BaseException) -> ToolFailure:
    """What the snippet is told of `error`."""
    if isinstance(error, ToolError):
        return ToolFailure(type=error.type[:200], message=error.message[:KEPT_CHARS])
    if isinstance(error, ValidationError):
        known = list(inspect.signature(tool.function).parameters)
        lines = [
            f"{_place(row['loc'], known)}: {row['msg']}"
            for row in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        return ToolFailure(type="TypeError", message=f"{name}(): {'; '.join(lines)}"[:KEPT_CHARS])
    if isinstance(error, ResultRefused):
        return ToolFailure(type="TypeError", message=f"{name}() returned {error}"[:KEPT_CHARS])
    if isinstance(error, TimeoutError):
        return ToolFailure(type="TimeoutError", message=str(error) or f"{name}() took too long")
    kind = type(error).__name__
    is_known = getattr(builtins, kind, None) is type(error)
    return ToolFailure(type=kind if is_known else kind[:200], message=_message(error)[:KEPT_CHARS])


def _message(error: BaseException) -> str:
    """What an exception says; its own `__str__` may raise."""
    try:
        return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    except Exception as broken:  # noqa: BLE001
        return f"its text cannot be had: {type(broken).__name__}"


def _place(location: Sequence[int | str], parameters: Sequence[str]) -> str:
    """Where an argument is wrong; the first step of a positional one is its number."""
    first, *rest = location or ("",)
    if isinstance(first, int) and first < len(parameters):
        first = parameters[first]
    return ".".join(map(str, (first, *rest)))
