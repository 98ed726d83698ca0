"""A session by E2B's own clients, against `/e2b` of a server."""

import contextlib
import posixpath
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any

import e2b
import e2b_code_interpreter
import pytest
from serving import KEY, TalkModel, directory, serving

from sandbox import FileNotThere, SessionClosed
from tests.conformance.lacking import Lacking, Told

Opener = Callable[[], AbstractContextManager[Any]]
HOME = "/home/user"
KINDS = {"text/plain": "text", "text/html": "html", "image/png": "png", "image/svg+xml": "svg"}


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class CommandsSubject:
    """The calls that the package e2b has."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._is_closed = False

    @cached_property
    def _sandbox(self) -> Any:
        """The sandbox, which a call makes: most of what the protocol lacks needs none."""
        return self._create()

    def exec(
        self, command: list[str] | str, *, cwd: str = "", env: dict[str, str] | None = None
    ) -> Any:
        """Run a command to its end."""
        text = command if isinstance(command, str) else shlex.join(command)
        if not _is_utf8(text):
            raise Lacking("a command that is no UTF-8")
        try:
            with self._told():
                done = self._sandbox.commands.run(text, cwd=posixpath.join(HOME, cwd), envs=env)
        except e2b.CommandExitException as error:
            done = error
        return Told(exit_code=done.exit_code, text=done.stdout)

    def put(self, path: str, data: str | bytes) -> None:
        """Write a file."""
        self._sandbox.files.write(path, data)

    def get(self, path: str) -> bytes:
        """Read a file."""
        try:
            with self._told():
                return bytes(self._sandbox.files.read(path, format="bytes"))
        except e2b.FileNotFoundException as error:
            raise FileNotThere(path, "there is no such file") from error
        except e2b.InvalidArgumentException as error:
            raise Lacking("why a file is refused") from error

    def files(self, path: str = "") -> list[str]:
        """All files, below the home directory by their relative names."""
        found = self._sandbox.files.list(path or HOME, depth=8)
        names = [one.path for one in found if one.type.value == "file"]
        return sorted(name if path else posixpath.relpath(name, HOME) for name in names)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._sandbox.files.make_dir(path)

    def stat(self, path: str) -> Any:
        """What is there."""
        return _entry(self._sandbox.files.get_info(path))

    def list_directory(self, path: str = "") -> list[Any]:
        """What a directory has."""
        return [_entry(one) for one in self._sandbox.files.list(path or HOME)]

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or a directory with all it has."""
        self._sandbox.files.remove(path)

    def fork(self, count: int) -> list[Any]:
        """Branches of it."""
        return [type(self)(partial(_given, one)) for one in self._sandbox.fork(count=count)]

    @property
    def is_live(self) -> bool:
        """Whether the server has it."""
        found: bool = self._sandbox.is_running()
        return found

    def close(self) -> None:
        """End it; once more does nothing."""
        if "_sandbox" in self.__dict__:
            self._sandbox.kill()
        self._is_closed = True

    def __getattr__(self, name: str) -> Any:
        raise Lacking(name)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The exceptions of a sandbox that was killed are those of a closed session."""
        try:
            yield
        except (e2b.NotFoundException, e2b.TimeoutException) as error:
            if not self._is_closed:
                raise
            raise SessionClosed("killed") from error


class E2bSubject(CommandsSubject):
    """Those and the ones of the package e2b-code-interpreter."""

    def run(self, code: str) -> Any:
        """Run a snippet."""
        with self._told():
            ran = self._sandbox.run_code(code)
        status, error = "completed", None
        if ran.error is not None:
            status = "raised"
            error = Told(type=ran.error.name, traceback=ran.error.traceback)
        return Told(
            status=status,
            error=error,
            text=ran.text,
            stdout="".join(ran.logs.stdout),
            stderr="".join(ran.logs.stderr),
            displays=[_bundle(one) for one in ran.results],
        )


def _given(sandbox: Any) -> Any:
    return sandbox


def _entry(info: Any) -> Any:
    kind = {"dir": "directory"}.get(info.type.value, info.type.value)
    path = posixpath.relpath(info.path, HOME)
    return Told(path=path, kind=kind, size_bytes=info.size)


def _bundle(result: Any) -> dict[str, str]:
    return {kind: result[name] for kind, name in KINDS.items() if name in result.formats()}


@contextlib.contextmanager
def _served(client: Any, subject: Any) -> Iterator[Opener]:
    with (
        serving(directory(TalkModel({}))) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("E2B_API_KEY", KEY)
        environment.setenv("E2B_API_URL", f"{server.origin}/e2b")
        environment.setenv("E2B_SANDBOX_URL", f"{server.origin}/e2b")
        environment.setenv("E2B_HTTP_VERSION", "1.1")
        yield lambda: contextlib.closing(subject(client.create))


@contextlib.contextmanager
def e2b_code_interpreter_client() -> Iterator[Opener]:
    """The client `e2b_code_interpreter.Sandbox`."""
    with _served(e2b_code_interpreter.Sandbox, E2bSubject) as opener:
        yield opener


@contextlib.contextmanager
def e2b_client() -> Iterator[Opener]:
    """The client `e2b.Sandbox`."""
    with _served(e2b.Sandbox, CommandsSubject) as opener:
        yield opener
