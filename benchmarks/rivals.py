"""What the engine is measured against: bare Python, a fork server, a Jupyter kernel."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Self

from benchmarks.harness import Unmeasured
from sandbox.policy.environment import discover
from sandbox.policy.lowering import lower
from sandbox.policy.policy import Policy
from sandbox.processes.zygote import BOOTSTRAP, LAUNCHER_ENV, LAUNCHER_FLAGS, PACKAGE_PARENT

ANSWER_CAP = 1 << 16
KERNEL_START_S = 60.0
KERNEL_ANSWER_S = 30.0


async def bare_python() -> None:
    """Start this interpreter for one `print(1+1)` and read what it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", "print(1+1)"], stdout=subprocess.PIPE, check=True
    )
    if done.stdout != b"2\n":
        raise RuntimeError(f"bare python printed {done.stdout!r}")


class ForkServer:
    """A process with `preload` imported that answers by `os.fork`. Used as a context manager."""

    def __init__(self, *preload: str) -> None:
        policy = Policy(preload=preload)
        plan = lower(policy, discover(policy.environment))
        flags = [
            BOOTSTRAP.replace("sandbox.guest.boot.launcher", "benchmarks.forkserver")
            if flag == BOOTSTRAP
            else flag
            for flag in LAUNCHER_FLAGS
        ]
        here, there = socket.socketpair()
        self._socket = here
        with there:
            self._process = subprocess.Popen(
                [sys.executable, *flags, str(there.fileno()), PACKAGE_PARENT],
                env=LAUNCHER_ENV,
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        self._socket.sendall(plan.to_json() + b"\n")
        if self._line() != b"ready":
            raise RuntimeError("the fork server did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()
        self._process.wait(10)

    def run(self, code: str) -> str | None:
        """The echo of `code`, run in a fork."""
        self._ask({"do": "run", "code": code})
        ended, text = json.loads(self._line())
        if ended != "completed":
            raise RuntimeError(f"the snippet {ended}")
        return None if text is None else str(text)

    def bare_fork_s(self) -> float:
        """Seconds of one fork and wait, as the server measures it in its own process."""
        self._ask({"do": "fork"})
        return float(self._line())

    def _ask(self, request: dict[str, str]) -> None:
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def _line(self) -> bytes:
        data = b""
        while not data.endswith(b"\n"):
            chunk = self._socket.recv(ANSWER_CAP)
            if not chunk:
                raise RuntimeError("the fork server is gone")
            data += chunk
        return data[:-1]


class Echo:
    """A bare interpreter that answers each frame with one: what a round trip costs at the least.

    The loop of the caller waits for the answer, as it does for that of a session.
    """

    SERVE = (
        "import socket, sys\n"
        "end = socket.socket(fileno=int(sys.argv[1]))\n"
        "while data := end.recv(65536): end.sendall(data)\n"
    )

    async def __aenter__(self) -> Self:
        self._socket, there = socket.socketpair()
        self._socket.setblocking(False)
        with there:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-c", self.SERVE, str(there.fileno())),
                pass_fds=[there.fileno()],
            )
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._loop.add_reader(self._socket, self._on_readable)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await self._process.wait()

    async def run(self, frame: bytes) -> None:
        """Send `frame` and wait until it comes back."""
        self._answer = self._loop.create_future()
        self._socket.send(frame)
        if await self._answer != frame:
            raise RuntimeError("the echo gave a wrong answer")

    def _on_readable(self) -> None:
        self._answer.set_result(self._socket.recv(ANSWER_CAP))


class JupyterKernel:
    """A kernel of this interpreter, driven through jupyter_client."""

    def __init__(self) -> None:
        try:
            import ipykernel as _ipykernel
            from jupyter_client.kernelspec import KernelSpec
            from jupyter_client.manager import AsyncKernelManager
        except ImportError as error:
            raise Unmeasured(f"needs {error.name}: pip install ipykernel jupyter_client") from None
        self._manager = AsyncKernelManager()
        self._manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name=_ipykernel.__name__,
            language="python",
        )

    async def start(self) -> None:
        """Return when the kernel answers."""
        await self._manager.start_kernel(stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        await self._client.wait_for_ready(timeout=KERNEL_START_S)

    async def run(self, code: str) -> str:
        """Text that `code` printed or echoed; returns when the kernel is idle again."""
        client = self._client
        request = client.execute(code, store_history=False)
        words = []
        while True:
            message = await client.get_iopub_msg(timeout=KERNEL_ANSWER_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                words.append(content["text"])
            elif kind == "execute_result":
                words.append(content["data"]["text/plain"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            reply = await client.get_shell_msg(timeout=KERNEL_ANSWER_S)
            if reply["parent_header"].get("msg_id") == request:
                break
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"the kernel answered {reply['content']}")
        return "".join(words)

    async def close(self) -> None:
        self._client.stop_channels()
        await self._manager.shutdown_kernel(now=True)


@contextlib.asynccontextmanager
async def jupyter() -> AsyncIterator[JupyterKernel]:
    """A started kernel, shut down at the end."""
    kernel = JupyterKernel()
    await kernel.start()
    try:
        yield kernel
    finally:
        await kernel.close()
        await asyncio.sleep(0)
