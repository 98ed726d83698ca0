"""LlamaProcess: a local model's weights served by a child process, on loopback, behind a key."""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

import httpx2

from runner.errors import UpstreamError
from runner.models.openai_compatible import Endpoint

PROGRAM = Path(__file__).with_name("llama_server.py")
START_S, STATE_S = 300.0, 60.0
READ_S = 900.0
"""One answer at a time: the next one waits in silence until the last is written."""
LOOK_S = 0.1
MOST_THREADS = 4
LOG_CHARS = 1000
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""What the child sees of this process's environment, in which there may be keys."""


class Serving(NamedTuple):
    """What the child is to serve."""

    weights: Path
    name: str
    template: str
    context_tokens: int
    answer_tokens: int
    states: Path
    """An existing directory for what `save` keeps."""


class LlamaProcess:
    """A child process that answers Chat Completions. It ends with its parent, however that ends."""

    def __init__(self, process: asyncio.subprocess.Process, key: str, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._key = key
        self._address = ""

    @property
    def endpoint(self) -> Endpoint:
        """Where it answers Chat Completions. Nothing is tried twice: it is this machine."""
        return Endpoint(
            url=f"{self._address}/v1", key=self._key, read_s=READ_S, retries=0, opens_thinking=False
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @classmethod
    async def start(cls, what: Serving) -> "LlamaProcess":
        """A child that has loaded the weights and answers. Raises UpstreamError.

        The thread that calls this is the one whose end the kernel takes for the parent's, so it
        has to be one that lasts: prctl(2), PR_SET_PDEATHSIG.
        """
        log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child.
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        # Before the library loads: threads that spin while they wait take the processors from
        # the sandbox, and cost the model itself more than half of its speed.
        environment["OMP_WAIT_POLICY"] = "passive"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(PROGRAM)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment,
        )
        child = cls(process, secrets.token_urlsafe(32), log)
        try:
            async with asyncio.timeout(START_S):
                await child._become_ready(what)
        except BaseException as error:
            await child.stop()
            if isinstance(error, TimeoutError):
                raise UpstreamError("slow", f"it did not load in {START_S:g} s") from error
            raise
        return child

    async def _become_ready(self, what: Serving) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {
            **what._asdict(),
            "weights": str(what.weights),
            "states": str(what.states),
            "key": self._key,
            "parent": os.getpid(),
            "threads": min(MOST_THREADS, len(os.sched_getaffinity(0))),
        }
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._address = (await self._process.stdout.readline()).decode().strip()
        if not self._address:
            await self._process.wait()
            raise self._not_started()
        while not await self._is_healthy():
            if not self.is_alive:
                raise self._not_started()
            await asyncio.sleep(LOOK_S)

    async def _is_healthy(self) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            async with httpx2.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{self._address}/health")).status_code == 200
        return False

    def _not_started(self) -> UpstreamError:
        return UpstreamError("failed", f"the local model did not start: {self.last_words()}")

    async def save(self, state: str) -> bool:
        """Write what was read of the last prompt to the file `state`; whether that went well."""
        return await self._move("save", state)

    async def restore(self, state: str) -> bool:
        """Take over what `save` wrote, so that it need not be read again; whether that is so."""
        return await self._move("restore", state)

    async def _move(self, action: str, state: str) -> bool:
        url = f"{self._address}/slots/0?action={action}"
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=STATE_S) as client:
                reply = await client.post(url, json={"filename": state}, headers=headers)
        except httpx2.HTTPError as error:
            problem = f"the local model did not {action} its state: {type(error).__name__}"
            raise UpstreamError("failed", problem) from error
        return reply.status_code == 200

    def last_words(self) -> str:
        """The end of what the child wrote to its standard error."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(end - LOG_CHARS, 0))
        lines = self._log.read().decode(errors="replace").split("\n")
        return " ".join(" ".join(lines).split()) or f"exit status {self._process.returncode}"

    async def stop(self) -> None:
        """End the child; nothing of it is left when this returns."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._log.close()
