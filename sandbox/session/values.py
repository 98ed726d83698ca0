"""Carries values into a session and out of it, and asks about its variables."""

import asyncio
import contextlib
import json
import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, TypeVar, cast

from sandbox.errors import EngineTimeout, SessionLost, ValueNotCarried
from sandbox.policy.arguments import check_name, check_number
from sandbox.protocol.messages import Answered, Query
from sandbox.protocol.values import KINDS, Packed, ValueRefused, pack_value, unpack_value
from sandbox.session.live_session import LiveSession, SessionOptions
from sandbox.session.runs.request import check_code
from sandbox.session.turns import Turns

ANSWER_WITHIN_S = 30.0
NONCE = "query"
NAME_RIGHT = "Give the name of a variable as a str"
REMEDY = "Give plain values, bytes, arrays, or tables of them"
T = TypeVar("T")


class Variable(NamedTuple):
    """A variable of a session, as the session itself describes it."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    """Of arrays and tables; the length of texts and containers. None for others."""
    size_bytes: int
    preview: str


class Completion(NamedTuple):
    """Names that can stand from `start` to `end` of the code."""

    matches: tuple[str, ...]
    start: int
    end: int


class Inspection(NamedTuple):
    """What is known of the object behind a name; `signature` is empty for what is not called."""

    type: str
    signature: str
    docstring: str
    preview: str


class CarriedValues:
    """Values of a session, on top of what carries them packed: here, over HTTP, in a cluster."""

    @abstractmethod
    async def carry_out(self, name: str) -> Packed:
        """The variable `name` as it travels."""

    @abstractmethod
    async def carry_in(self, name: str, packed: Packed) -> None:
        """Set the variable `name` to what was packed."""

    async def set(self, **values: object) -> None:
        """Set variables of the session: plain values, bytes, numpy arrays, pandas or Arrow tables.

        Raises ValueNotCarried that names the variable, SessionClosed, SessionLost.
        """
        for name in values:
            check_name("name", name, NAME_RIGHT)
        for name, value in values.items():
            try:
                packed = await asyncio.to_thread(pack_value, value)
            except ValueRefused as error:
                raise ValueNotCarried(name, str(error), REMEDY) from None
            await self.carry_in(name, packed)

    async def get_value(self, name: str) -> Any:
        """Return a copy of the variable `name`: of the types that `set` takes.

        Raises ValueNotCarried if there is none, or it is of another type.
        """
        check_name("name", name, NAME_RIGHT)
        return await unpacked(name, await self.carry_out(name))


class ValueCalls(CarriedValues):
    """Values and questions of a session: they take its turn, and no snippet runs meanwhile."""

    _options: SessionOptions
    _turns: Turns

    @property
    @abstractmethod
    def _grace_s(self) -> float:
        """How long what was cancelled may go on."""

    async def carry_out(self, name: str) -> Packed:
        """The variable `name` as it travels: its kind, and bytes that were not looked into yet.

        Raises ValueNotCarried, SessionClosed, SessionLost.
        """
        check_name("name", name, NAME_RIGHT)
        fd = os.memfd_create("value", os.MFD_CLOEXEC)
        try:
            kind = await self._ask("get", name, 0, fd)
            if kind not in KINDS:
                raise ValueNotCarried(name, "its kind is none")
            size = os.fstat(fd).st_size
            if size > self._options.limits.memory_bytes:
                raise ValueNotCarried(name, f"it has {size} bytes", "Raise memory_bytes")
            return Packed(kind, await asyncio.to_thread(_read_all, fd, size))
        finally:
            os.close(fd)

    async def carry_in(self, name: str, packed: Packed) -> None:
        """Set the variable `name` to what another process has packed.

        Raises ValueNotCarried, SessionClosed, SessionLost.
        """
        check_name("name", name, NAME_RIGHT)
        size, most = len(packed.data), self._options.limits.memory_bytes
        if size > most:
            problem = f"it has {size} bytes, and the session has {most} in all"
            raise ValueNotCarried(name, problem, "Raise memory_bytes, or put a file")
        fd = os.memfd_create("value", os.MFD_CLOEXEC)
        try:
            await asyncio.to_thread(_write_all, fd, packed.data)
            await self._ask("set", f"{packed.kind} {name}", 0, fd)
        finally:
            os.close(fd)

    async def variables(self) -> list[Variable]:
        """Return the session's variables, without modules and names that begin with `_`."""
        rows = await self._ask("variables", "", 0)
        return [_checked(_variable, row) for row in _checked(list, rows)]

    async def complete(self, code: str, cursor: int | None = None) -> Completion:
        """Return the names that can go on at `cursor`, counted in characters; the end without."""
        check_code(code)
        if cursor is not None:
            check_number("cursor", cursor, "Give a place in the code", kinds=(int,))
        at = len(code) if cursor is None else max(0, min(cursor, len(code)))
        found = await self._ask("complete", code, at)
        return _checked(lambda row: Completion(tuple(map(str, row[0])), int(row[1]), at), found)

    async def inspect(self, name: str) -> Inspection:
        """Return what is known of the object behind a dotted name. Raises ValueNotCarried."""
        check_name("name", name, NAME_RIGHT)
        found = await self._ask("inspect", name, 0)
        return _checked(lambda row: Inspection(*map(str, row)), found)

    async def is_complete(self, code: str) -> Literal["complete", "incomplete", "invalid"]:
        """Whether `code` can be run as it is, wants more lines, or never will."""
        check_code(code)
        found = await self._ask("is_complete", code, 0)
        if found not in ("complete", "incomplete", "invalid"):
            raise ValueNotCarried("is_complete", "the session answered nonsense")
        return cast(Literal["complete", "incomplete", "invalid"], found)

    async def _ask(self, kind: str, text: str, number: int, fd: int = -1) -> Any:
        async def ask(live: LiveSession) -> Any:
            return await _answer_of(live, Query(NONCE, kind, text, number), fd)

        take: Callable[..., Awaitable[Any]] = self._turns.take
        return await take(ask, grace_s=self._grace_s)


async def unpacked(name: str, packed: Packed) -> Any:
    """The value in `packed`. Raises ValueNotCarried, also where a library is missing here."""
    try:
        return await asyncio.to_thread(unpack_value, packed)
    except ValueRefused as error:
        raise ValueNotCarried(name, str(error)) from None
    except ImportError as error:
        library = error.name or "a library"
        remedy = f"Install {library} beside Cellblock, or convert the value in a snippet"
        raise ValueNotCarried(name, f"{library} is not installed here", remedy) from None


async def _answer_of(live: LiveSession, query: Query, fd: int) -> Any:
    fds = (fd,) if fd >= 0 else ()
    try:
        found = await live.worker.guest.ask(query, fds, within_s=ANSWER_WITHIN_S)
    except TimeoutError:
        live.lose(SessionLost(f"it did not answer {query.kind}"))
        raise EngineTimeout(f"the answer to {query.kind}", ANSWER_WITHIN_S) from None
    if not isinstance(found, Answered):
        live.lose(SessionLost(f"{type(found).__name__} in answer to {query.kind}"))
        live.check_alive()
        raise AssertionError  # It was lost.
    named = {"set": query.text.partition(" ")[2], "get": query.text, "inspect": query.text}
    subject = named.get(query.kind, query.kind)
    if found.refusal:
        raise ValueNotCarried(subject, found.refusal, REMEDY if query.kind == "set" else "")
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(found.body)
    raise ValueNotCarried(subject, "the session answered no JSON")


def _checked(make: Callable[[Any], T], raw: Any) -> T:
    """What `make` makes of a guest's answer. Raises ValueNotCarried for nonsense."""
    try:
        return make(raw)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
        raise ValueNotCarried("answer", "the session answered nonsense") from None


def _variable(row: Any) -> Variable:
    name, kind, shape, size, preview = row
    sizes = None if shape is None else tuple(int(one) for one in shape)
    return Variable(str(name), str(kind), sizes, int(size), str(preview))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)


def _read_all(fd: int, size: int) -> bytes:
    """At most `size` bytes from the beginning: the guest may still be writing."""
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while size > 0 and (part := os.read(fd, min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
