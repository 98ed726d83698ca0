"""A real server on loopback, with the real engine and a model that follows a script."""

import asyncio
import contextlib
import gc
import socket
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import uvicorn
from scripted import ScriptedModel

from runner.config import Config, KeySettings, ServerSettings
from runner.models.directory import Directory, Served
from runner.models.port import Model, ModelEvent, ModelRequest, Profile
from runner.server.app import open_services
from runner.server.program import settings_of
from runner.server.services import Services
from runner.transcript import Question

KEY = "sk-test-key"
MODEL = "qwen3-max"
READY_S = 30.0


class TalkModel:
    """Answers by the newest question: each has its own script."""

    def __init__(self, talks: Mapping[str, Sequence[Sequence[ModelEvent]]]) -> None:
        self.scripts = {question: ScriptedModel(*turns) for question, turns in talks.items()}

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        asked = [entry.text for entry in request.entries if isinstance(entry, Question)]
        async with contextlib.aclosing(self.scripts[asked[-1]].stream(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Nothing is held."""


class Running:
    """A running server: where it listens, and what is inside."""

    def __init__(self, services: Services, port: int) -> None:
        self.services = services
        self.origin = f"http://127.0.0.1:{port}"
        self.loop: asyncio.AbstractEventLoop | None = None

    def wait_until(self, is_true, *, seconds: float = 10.0) -> None:
        """Return once `is_true()`; fail the test when it does not become so."""
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)


class Turns:
    """The longest turn of a loop in processor time, which no other program takes from it."""

    def __init__(self, server: Running) -> None:
        assert server.loop is not None
        self.longest_s = 0.0
        self._ends = threading.Event()
        # What the tests before have left is not for a collection in this loop to walk.
        gc.collect()
        gc.freeze()
        self._done = asyncio.run_coroutine_threadsafe(self._watch(), server.loop)

    async def _watch(self) -> None:
        last = time.thread_time()
        while not self._ends.is_set():
            await asyncio.sleep(0.001)
            now = time.thread_time()
            self.longest_s, last = max(self.longest_s, now - last), now

    def end(self) -> float:
        self._ends.set()
        try:
            self._done.result(30)
        finally:
            gc.unfreeze()
        return self.longest_s


def config(**changes) -> Config:
    key = KeySettings(key=KEY, requests_per_minute=100_000, concurrent_requests=1000)
    changes.setdefault("keys", (key,))
    changes.setdefault("server", ServerSettings(heartbeat_s=0.2, grace_s=1))
    return Config(**changes)


def directory(model: Model, **more: Model) -> Directory:
    ready = {MODEL: Served(model, Profile())}
    ready |= {name: Served(one, Profile()) for name, one in more.items()}
    return Directory({}, ready=ready)


@contextlib.contextmanager
def serving(models: Directory, settings: Config | None = None) -> Iterator[Running]:
    """A server in a thread of its own, ready to answer; gone when the block is left."""
    with contextlib.ExitStack() as held:
        settings = settings or config()
        if not settings.server.data_dir:
            folder = held.enter_context(tempfile.TemporaryDirectory())
            server = settings.server.model_copy(update={"data_dir": folder})
            settings = settings.model_copy(update={"server": server})
        yield held.enter_context(running(models, settings))


@contextlib.contextmanager
def running(models: Directory, settings: Config) -> Iterator[Running]:
    """A server over the data directory that `settings` name."""
    services = open_services(settings, directory=models)
    listener = socket.create_server(("127.0.0.1", 0))
    served = Running(services, listener.getsockname()[1])
    server = uvicorn.Server(settings_of(services))

    async def main() -> None:
        served.loop = asyncio.get_running_loop()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    try:
        served.wait_until(lambda: services.is_ready, seconds=READY_S)
        yield served
    finally:
        server.should_exit = True
        thread.join(READY_S)
        assert not thread.is_alive(), "the server did not stop"
