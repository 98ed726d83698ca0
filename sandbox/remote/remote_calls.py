"""Commands, values and questions of a session of another machine."""

import asyncio
import base64
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from sandbox import events
from sandbox.errors import NotRemote, PolicyError, RemoteFailed, ValueNotCarried
from sandbox.outcome import ExecResult
from sandbox.protocol.messages import Checked
from sandbox.protocol.values import ValueRefused, pack_value
from sandbox.remote.server import LONGEST_S
from sandbox.session.commands.command import AsyncCommand, CommandEvent
from sandbox.session.description import SessionDescription
from sandbox.session.values import Completion, Inspection, Variable


class RemoteCalls:
    """Calls of a session beside its snippets; see `CommandCalls` and `ValueCalls`."""

    @abstractmethod
    async def _ask(
        self, method: str, path: str, body: object = None, *, subject: str = "", **more: Any
    ) -> Any:
        """The answer to a call of this session."""

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
        body: dict[str, Any] = {
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": None if env is None else dict(env),
            "timeout_s": timeout_s,
        }
        if stdin is not None:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            body |= {"stdin": base64.b64encode(data).decode(), "stdin_base64": True}
        told = await self._ask("POST", "/exec", body, silent_s=LONGEST_S)
        try:
            facts = {name: told[name] for name in EXEC_FACTS}
            for name in ("stdout", "stderr"):
                facts[name] = base64.b64decode(told[f"{name}_base64"], validate=True)
            return ExecResult.model_validate(facts)
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

    async def set(self, **values: object) -> None:
        """Set variables of the session: plain values and bytes. Raises ValueNotCarried."""
        for name, value in values.items():
            try:
                packed = await asyncio.to_thread(pack_value, value)
            except ValueRefused as error:
                raise ValueNotCarried(name, str(error), PLAIN) from None
            if packed.kind not in ("json", "bytes"):
                raise ValueNotCarried(name, "arrays and tables do not travel over HTTP", PLAIN)
            body: dict[str, Any] = {"value": value}
            if packed.kind == "bytes":
                body = {"value": base64.b64encode(packed.data).decode(), "is_base64": True}
            try:
                await self._ask("PUT", f"/values/{_name(name)}", body, subject=name)
            except PolicyError as error:
                raise ValueNotCarried(name, error.problem, PLAIN) from None

    async def get_value(self, name: str) -> Any:
        """Return a copy of the variable `name`: plain values and bytes. Raises ValueNotCarried."""
        told = await self._ask("GET", f"/values/{_name(name)}", subject=name)
        try:
            if told["is_base64"]:
                return base64.b64decode(told["value"], validate=True)
            return told["value"]
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None

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

    # ---- what is not there ----------------------------------------------------------------------

    async def describe(self) -> SessionDescription:
        """Not possible. Raises NotRemote."""
        raise NotRemote("describe", "Ask in a snippet: sys.version, importlib.metadata")

    async def check(self, code: str) -> Checked:
        """Not possible. Raises NotRemote."""
        raise NotRemote("check", "Check the code with a Sandbox of this machine")

    async def complete(self, code: str, cursor: int | None = None) -> Completion:
        """Not possible. Raises NotRemote."""
        raise NotRemote("complete", "Ask for `variables`")

    async def inspect(self, name: str) -> Inspection:
        """Not possible. Raises NotRemote."""
        raise NotRemote("inspect", "Run `help(...)` in a snippet")

    async def is_complete(self, code: str) -> Literal["complete", "incomplete", "invalid"]:
        """Not possible. Raises NotRemote."""
        raise NotRemote("is_complete", "Use the standard library's codeop")

    async def popen(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncCommand:
        """Not possible. Raises NotRemote."""
        raise NotRemote("popen", "Use `exec`, or start it in a snippet")

    async def exec_stream(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[CommandEvent]:
        """The program's output in one piece of each stream at its end, then `ExecFinished`."""
        done = await self.exec(command, cwd=cwd, env=env, stdin=stdin, timeout_s=timeout_s)
        if done.stdout:
            yield events.Stdout(done.text, done.stdout)
        if done.stderr:
            yield events.Stderr(done.stderr.decode("utf-8", "replace"), done.stderr)
        yield events.ExecFinished(done)


EXEC_FACTS = ("exit_code", "signal", "timed_out", "limit", "truncated", "usage")
PLAIN = "Give plain values or bytes; put what is more into a file"


def _name(name: str) -> str:
    """A variable's name as a part of a path."""
    if not name.isidentifier():
        raise ValueNotCarried(name, "that is no name of a variable")
    return quote(name)
