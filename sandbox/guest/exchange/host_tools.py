"""Functions of the host that a snippet can call: each call is a message and waits for its answer.

A function waits on the session's own channel, which nothing else reads while a snippet runs. Under
a running event loop the loop reads it, so that several calls can be under way at once.
"""

import asyncio
import dis
import inspect
import itertools
import json
import select
import sys
import threading
from collections.abc import Callable
from types import FrameType, FunctionType
from typing import Any, Protocol

from sandbox.guest.kernel.guest_channel import GuestChannel
from sandbox.protocol.messages import ARGUMENTS_CAP, ToolAnswer, ToolCall

NO_SAME_TYPE = frozenset(
    (
        "MemoryError",  # It would read as a limit of the snippet.
        *("UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError"),  # Five arguments.
        "ExceptionGroup",  # Its parts do not travel.
    )
)
"""Built-in exceptions that arrive as ToolError, as all that are no `Exception` do."""
UNDER_WAY_CAP = 24
"""Calls of one event loop that wait for an answer; more wait until one of them has come.

The host takes 64 in all, one that it has just answered too: what is left is for threads.
"""


class ToolError(Exception):
    """What a host function raised; `type` is the name of its class there."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message


def is_offered(value: object) -> bool:
    """Return whether `value` was put among a snippet's names by the host, not by the snippet."""
    return value is ToolError or (
        isinstance(value, FunctionType) and bool(value.__dict__.get("is_host_tool"))
    )


class Speaker(Protocol):
    """What the tools need of the session process."""

    @property
    def channel(self) -> GuestChannel: ...

    def call_host(self, message: ToolCall) -> None:
        """Send a call. Raises RuntimeError while no snippet runs."""

    def receive_whole(self) -> Any:
        """The next message of the channel; an interrupt waits until it is whole."""


class HostTools:
    """The functions that the session's snippets may call."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._ids = itertools.count(1)
        self._answers: dict[int, ToolAnswer] = {}
        self._futures: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[ToolAnswer]]] = {}
        self._reading = threading.Lock()
        self._offered: set[str] = set()
        self._rooms: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    def offer(self, specs_text: str, namespace: dict[str, Any]) -> None:
        """Put functions for `specs_text` into `namespace`, and take out those offered before."""
        if not specs_text and not self._offered:
            return
        for name in self._offered:
            if getattr(namespace.get(name), "is_host_tool", False):
                del namespace[name]
        self._offered.clear()
        self._answers.clear()
        self._futures.clear()
        self._rooms.clear()
        if not specs_text:
            return
        namespace.setdefault("ToolError", ToolError)
        for spec in json.loads(specs_text):
            namespace[spec["name"]] = self._function(spec)
            self._offered.add(spec["name"])

    def take(self, answer: ToolAnswer) -> None:
        """Drop an answer that came after its snippet had ended."""

    def _function(self, spec: dict[str, Any]) -> Callable[..., Any]:
        is_async = bool(spec["is_async"])
        name = str(spec["name"])

        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in self._offered:
                raise RuntimeError(f"{name}() was given to an earlier snippet, and not to this one")
            body = _packed(name, args, kwargs)
            loop = _running_loop()
            if loop is not None and (is_async or _is_awaited(sys._getframe(1))):
                return self._call_async(name, body, loop)
            return self._call(name, body)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = spec["doc"]
        call.__signature__ = _signature(spec["parameters"])  # type: ignore[attr-defined]
        call.is_host_tool = True  # type: ignore[attr-defined]
        return call

    def _call(self, name: str, body: str) -> Any:
        number = next(self._ids)
        self._speaker.call_host(ToolCall("", number, name, body))
        while number not in self._answers:
            with self._reading:
                if number not in self._answers:
                    self._read_one(wait=True)
        return _value_of(self._answers.pop(number))

    async def _call_async(self, name: str, body: str, loop: asyncio.AbstractEventLoop) -> Any:
        if loop not in self._rooms:
            self._rooms[loop] = asyncio.Semaphore(UNDER_WAY_CAP)
        async with self._rooms[loop]:
            return await self._call_at_once(name, body, loop)

    async def _call_at_once(self, name: str, body: str, loop: asyncio.AbstractEventLoop) -> Any:
        number = next(self._ids)
        future: asyncio.Future[ToolAnswer] = loop.create_future()
        self._futures[number] = loop, future
        descriptor = self._speaker.channel.fileno()
        loop.add_reader(descriptor, self._on_readable)
        try:
            self._speaker.call_host(ToolCall("", number, name, body))
            return _value_of(await future)
        finally:
            self._futures.pop(number, None)
            if not self._futures:
                loop.remove_reader(descriptor)

    def _on_readable(self) -> None:
        if self._reading.acquire(blocking=False):
            try:
                self._read_one(wait=False)
                # What came with it makes the descriptor readable no more.
                while self._speaker.channel.has_more:
                    self._read_one(wait=False)
            finally:
                self._reading.release()

    def _read_one(self, *, wait: bool) -> None:
        channel = self._speaker.channel
        if not channel.has_more and not select.select([channel], [], [], None if wait else 0)[0]:
            return
        message = self._speaker.receive_whole()
        if not isinstance(message, ToolAnswer):
            return
        waiting = self._futures.get(message.id)
        if waiting is None:
            self._answers[message.id] = message
            return
        loop, future = waiting
        loop.call_soon_threadsafe(_settle, future, message)


def _settle(future: "asyncio.Future[ToolAnswer]", message: ToolAnswer) -> None:
    if not future.done():
        future.set_result(message)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_awaited(frame: FrameType) -> bool:
    """Whether what the caller is about to get is the operand of `await`."""
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset > frame.f_lasti and instruction.opname != "CACHE":
            return instruction.opname == "GET_AWAITABLE"
    return False


def _packed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    try:
        body = json.dumps({"args": args, "kwargs": kwargs}, allow_nan=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name}() takes values that JSON has: {error}") from None
    if len(body) > ARGUMENTS_CAP:
        raise ValueError(f"{name}() takes at most {ARGUMENTS_CAP} characters of arguments")
    return body


def _value_of(answer: ToolAnswer) -> Any:
    if not answer.error_type:
        return json.loads(answer.result)
    kind = vars(sys.modules["builtins"]).get(answer.error_type)
    if (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and answer.error_type not in NO_SAME_TYPE
    ):
        raise kind(answer.error_message)
    raise ToolError(answer.error_type, answer.error_message)


def _signature(rows: list[list[Any]]) -> inspect.Signature:
    """The signature of the host's function: rows of name, kind, whether it has a default, it."""
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect._ParameterKind(kind),
                default=default if has_default else inspect.Parameter.empty,
            )
            for name, kind, has_default, default in rows
        ]
    )
