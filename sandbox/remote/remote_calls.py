"""Commands, values and questions of a session of another machine."""

import base64
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, cast
from urllib.parse import quote

from pydantic import TypeAdapter

from sandbox.errors import RemoteFailed, ValueNotCarried
from sandbox.outcome import ExecResult
from sandbox.policy.arguments import as_bytes, check_name, check_number
from sandbox.protocol.messages import Checked
from sandbox.protocol.values import KINDS, Packed
from sandbox.remote.command import AsyncRemoteCommand, exec_result
from sandbox.remote.server import LONGEST_S, Server
from sandbox.session.commands.command import AsyncCommand, CommandEvent, CommandRequest
from sandbox.session.description import SessionDescription
from sandbox.session.runs.request import check_code
from sandbox.session.values import NAME_RIGHT, CarriedValues, Completion, Inspection, Variable


class RemoteCalls(CarriedValues):
    """Calls of a session beside its snippets; see `CommandCalls` and `ValueCalls`."""

    _server: Server
    _commands: set[AsyncRemoteCommand]
    """Programs that run, as far as was told."""

    @abstractmethod
    async def _ask(
        self, method: str, path: str, body: object = None, *, subject: str = "", **more: Any
    ) -> Any:
        """The answer to a call of this session."""

    @property
    @abstractmethod
    def _path(self) -> str:
        """The session's path below the sessions. Raises SessionError."""

    @abstractmethod
    def _noting_loss(self) -> AbstractContextManager[None]:
        """Remembers that the session is lost, if that is what a call raises."""

    @abstractmethod
    def _nonsense(self) -> RemoteFailed:
        """The error of an answer that is none."""

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a program in the session's jail beside the interpreter; see `AsyncSession.exec`."""
        body = {**_command(command, cwd, env, timeout_s), **_stdin(stdin)}
        told = await self._ask("POST", "/exec", body, silent_s=LONGEST_S)
        try:
            return exec_result(told)
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    async def carry_in(self, name: str, packed: Packed) -> None:
        """Set the variable `name` to what was packed."""
        check_name("name", name, NAME_RIGHT)
        path = f"{self._path}/values/{_name(name)}?kind={packed.kind}"
        with self._noting_loss():
            await self._server.upload(path, packed.data, subject=name)

    async def carry_out(self, name: str) -> Packed:
        """The variable `name` as it travels."""
        check_name("name", name, NAME_RIGHT)
        path = f"{self._path}/values/{_name(name)}?packed=true"
        with self._noting_loss():
            found, headers = await self._server.download(path, subject=name)
        kind = headers.get("x-value-kind", "")
        if kind not in KINDS:
            raise self._nonsense()
        return Packed(kind, found)

    async def variables(self) -> list[Variable]:
        """Return the session's variables, without modules and names that begin with `_`."""
        told = await self._ask("GET", "/variables")
        try:
            return [
                Variable(
                    str(row["name"]),
                    str(row["type"]),
                    None if row["shape"] is None else tuple(map(int, row["shape"])),
                    int(row["size_bytes"]),
                    str(row["preview"]),
                )
                for row in told["data"]
            ]
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    # ---- questions ------------------------------------------------------------------------------

    async def describe(self) -> SessionDescription:
        """Interpreter, packages, limits, layers, places for files, and what survives."""
        told = await self._ask("GET", "/describe")
        try:
            return SessionDescription.model_validate(_without_object(told))
        except ValueError:
            raise self._nonsense() from None

    async def check(self, code: str) -> Checked:
        """What `code` would need and what the policy would refuse. Runs nothing of it."""
        check_code(code)
        told = await self._ask("POST", "/check", {"code": code})
        try:
            return _CHECKED.validate_python({**_without_object(told), "nonce": ""})
        except ValueError:
            raise self._nonsense() from None

    async def complete(self, code: str, cursor: int | None = None) -> Completion:
        """Return the names that can go on at `cursor`, counted in characters; the end without."""
        check_code(code)
        if cursor is not None:
            check_number("cursor", cursor, "Give a place in the code", kinds=(int,))
        at = None if cursor is None else max(0, cursor)
        told = await self._ask("POST", "/complete", {"code": code, "cursor": at})
        try:
            matches = tuple(map(str, told["matches"]))
            return Completion(matches, int(told["start"]), int(told["end"]))
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    async def inspect(self, name: str) -> Inspection:
        """Return what is known of the object behind a dotted name. Raises ValueNotCarried."""
        check_name("name", name, NAME_RIGHT)
        if not name:
            raise ValueNotCarried(name, "is no name")
        told = await self._ask("POST", "/inspect", {"name": name}, subject=name)
        try:
            return Inspection(*(str(told[field]) for field in Inspection._fields))
        except (KeyError, TypeError):
            raise self._nonsense() from None

    async def is_complete(self, code: str) -> Literal["complete", "incomplete", "invalid"]:
        """Whether `code` can be run as it is, wants more lines, or never will."""
        check_code(code)
        found = (await self._ask("POST", "/is_complete", {"code": code})).get("status")
        if found not in ("complete", "incomplete", "invalid"):
            raise self._nonsense()
        return cast(Literal["complete", "incomplete", "invalid"], found)

    # ---- programs -------------------------------------------------------------------------------

    async def popen(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncCommand:
        """Start a program beside the interpreter; see `AsyncSession.popen`.

        It ends with its connection. The pid is not told.
        """
        body = {**_command(command, cwd, env, timeout_s), "stream": True, "interactive": True}
        started = await self._begin(body)
        # The same calls: nothing of it is of this machine.
        return cast(AsyncCommand, started)

    async def exec_stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[CommandEvent]:
        """What a program writes as it comes, `ExecFinished` last. Leaving the loop ends it."""
        body = {**_command(command, cwd, env, timeout_s), "stream": True, **_stdin(stdin)}
        started = await self._begin(body)
        try:
            while (event := await started.read_event()) is not None:
                yield event
            await started.wait()
        finally:
            started.reading.cancel()

    async def _begin(self, body: dict[str, Any]) -> AsyncRemoteCommand:
        path = self._path

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            with self._noting_loss():
                asked = self._server.opened("POST", f"{path}/exec", body)
                async with asked as pieces:
                    yield pieces

        started = AsyncRemoteCommand(self._server, path, opened)
        self._commands.add(started)
        started.reading.add_done_callback(lambda _: self._commands.discard(started))
        await started.started()
        return started


_CHECKED: TypeAdapter[Checked] = TypeAdapter(Checked)


def _command(
    command: str | Sequence[str],
    cwd: str | None,
    env: Mapping[str, str] | None,
    timeout_s: float | None,
) -> dict[str, Any]:
    # Refused here as it would be on this machine: what JSON makes of it may be something else.
    CommandRequest.of(
        command,
        cwd=cwd,
        env=env,
        timeout_s=1.0 if timeout_s is None else timeout_s,
        kept_bytes=0,
        output_bytes=0,
        is_streamed=False,
    )
    return {
        "command": command if isinstance(command, str) else list(command),
        "cwd": cwd,
        "env": None if env is None else dict(env),
        "timeout_s": None if timeout_s is None else min(timeout_s, LONGEST_S),
    }


def _stdin(stdin: bytes | str | None) -> dict[str, Any]:
    if stdin is None:
        return {}
    data = as_bytes("stdin", stdin)
    return {"stdin": base64.b64encode(data).decode(), "stdin_base64": True}


def _without_object(told: Any) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "object"}


def _name(name: str) -> str:
    """A variable's name as a part of a path."""
    if not name.isidentifier():
        raise ValueNotCarried(name, "that is no name of a variable")
    return quote(name)
