"""A session by the messages of Jupyter: of its kernel, and of the gateway in a server."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx2
import pytest
from jupyter_client.manager import start_new_kernel
from serving import KEY, TalkModel, config, directory, serving
from websockets.sync.client import connect

from tests.conformance.lacking import Lacking, Told

Opener = Callable[[], AbstractContextManager[Any]]
WAIT_S = 60.0
LIMITS = {"limits": {"wall_s": 8}}
"""Of a cell that a client left, and that the next one waits for."""


class Line(Protocol):
    """What carries messages to a kernel and back."""

    def send(self, kind: str, content: dict[str, Any], channel: str) -> str:
        """Send a message; its number."""
        ...

    def receive(self) -> dict[str, Any]:
        """The next message of any channel."""
        ...


class Started(NamedTuple):
    """A kernel that runs."""

    line: Line
    interrupt: Callable[[], object]


class Completed(NamedTuple):
    matches: Sequence[str]
    start: int
    end: int


class Stdout(NamedTuple):
    text: str


class Finished(NamedTuple):
    outcome: Any


class JupyterSubject:
    """The calls that a kernel's messages have."""

    is_live = True

    def __init__(self, started: Callable[[], Started]) -> None:
        self._started = started

    @cached_property
    def _kernel(self) -> Started:
        """Its kernel, which a call starts: most of what a kernel lacks needs none to be seen."""
        return self._started()

    @property
    def _line(self) -> Line:
        return self._kernel.line

    def interrupt(self) -> None:
        """End what runs."""
        self._kernel.interrupt()

    def run(self, code: str, *, stdin: str = "") -> Any:
        """Run a cell; its questions are answered by the lines of `stdin`."""
        *_, last = self.stream(code, stdin=stdin)
        assert isinstance(last, Finished)
        return last.outcome

    def stream(self, code: str, *, stdin: str = "") -> Iterator[Stdout | Finished]:
        """What a cell prints, as it comes, and its end."""
        answers = iter(stdin.splitlines())
        asked = self._line.send("execute_request", {"code": code, "allow_stdin": True}, "shell")
        out: dict[str, Any] = {"stdout": "", "stderr": "", "text": None, "error": None}
        out |= {"status": "completed", "displays": []}
        seen: set[str] = set()
        while seen != {"reply", "idle"}:
            message = self._line.receive()
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "input_request":
                self._line.send("input_reply", {"value": next(answers)}, "stdin")
            elif kind == "stream":
                out[content["name"]] += content["text"]
                if content["name"] == "stdout":
                    yield Stdout(content["text"])
            elif kind in ("execute_result", "display_data"):
                out["displays"].append(content["data"])
                if kind == "execute_result":
                    out["text"] = content["data"].get("text/plain")
            elif kind == "error":
                lines = "\n".join(content["traceback"])
                out["error"] = Told(type=content["ename"], traceback=lines)
                out["status"] = "raised"
            elif kind == "execute_reply":
                seen.add("reply")
            elif content.get("execution_state") == "idle":
                seen.add("idle")
        yield Finished(Told(**out))

    def complete(self, code: str, cursor: int | None = None) -> Completed:
        """What a name may go on with."""
        at = len(code) if cursor is None else cursor
        found = self._ask("complete", {"code": code, "cursor_pos": at})
        return Completed(found["matches"], found["cursor_start"], found["cursor_end"])

    def is_complete(self, code: str) -> str:
        """Whether a cell is whole."""
        status: str = self._ask("is_complete", {"code": code})["status"]
        return status

    def __getattr__(self, name: str) -> Any:
        raise Lacking(name)

    def _ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        asked = self._line.send(f"{kind}_request", content, "shell")
        while True:
            message = self._line.receive()
            is_answer = message["parent_header"].get("msg_id") == asked
            if is_answer and message["msg_type"] == f"{kind}_reply":
                answer: dict[str, Any] = message["content"]
                return answer


class ZmqLine:
    """The client of notebooks."""

    def __init__(self, client: Any) -> None:
        self._channels = {
            name: getattr(client, f"{name}_channel") for name in ("shell", "iopub", "stdin")
        }
        self._session = client.session

    def send(self, kind: str, content: dict[str, Any], channel: str) -> str:
        """Send a message."""
        message = self._session.msg(kind, content)
        self._channels[channel].send(message)
        number: str = message["header"]["msg_id"]
        return number

    def receive(self) -> dict[str, Any]:
        """The next message."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for channel in self._channels.values():
                if channel.msg_ready():
                    message: dict[str, Any] = channel.get_msg(timeout=0)
                    return message
            time.sleep(0.002)
        raise AssertionError("the kernel did not answer")


class WebLine:
    """A WebSocket of the gateway."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def send(self, kind: str, content: dict[str, Any], channel: str) -> str:
        """Send a message."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": kind, "session": "s", "username": "", "date": ""}
        message = {"header": header | {"version": "5.3"}, "parent_header": {}, "metadata": {}}
        self._socket.send(json.dumps(message | {"content": content, "channel": channel}))
        return number

    def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=WAIT_S))
        return message


def _opener(start: Callable[[contextlib.ExitStack], Started]) -> Opener:
    @contextlib.contextmanager
    def opened() -> Iterator[JupyterSubject]:
        with contextlib.ExitStack() as held:
            yield JupyterSubject(lambda: start(held))

    return opened


@contextlib.contextmanager
def jupyter_kernel() -> Iterator[Opener]:
    """`cellblock kernel`, by jupyter_client; a process for each session."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUPYTER_DATA_DIR", folder)
        environment.setenv("JUPYTER_RUNTIME_DIR", f"{folder}/runtime")
        policy = Path(folder) / "policy.toml"
        policy.write_text(f"[limits]\nwall_s = {LIMITS['limits']['wall_s']}\n")
        command = [sys.executable, "-m", "runner", "kernel", "install", "--policy", str(policy)]
        subprocess.run(command, capture_output=True, timeout=60, check=True)

        def start(held: contextlib.ExitStack) -> Started:
            manager, client = start_new_kernel(kernel_name="cellblock")
            held.callback(manager.shutdown_kernel)
            held.callback(client.stop_channels)
            return Started(ZmqLine(client), manager.interrupt_kernel)

        yield _opener(start)


@contextlib.contextmanager
def jupyter_gateway() -> Iterator[Opener]:
    """`/api/kernels` of a server, by REST and WebSocket."""
    with (
        serving(directory(TalkModel({})), config(policy=LIMITS)) as server,
        httpx2.Client(
            base_url=server.origin, headers={"authorization": f"token {KEY}"}, timeout=WAIT_S
        ) as http,
    ):

        def start(held: contextlib.ExitStack) -> Started:
            kernel = f"/api/kernels/{http.post('/api/kernels', json={}).json()['id']}"
            held.callback(http.delete, kernel)
            where = f"{server.origin.replace('http', 'ws')}{kernel}/channels?token={KEY}"
            socket = held.enter_context(connect(where))
            return Started(WebLine(socket), lambda: http.post(f"{kernel}/interrupt"))

        yield _opener(start)
