"""The faces that the checks are put to: how to get a session of each, and what it lacks.

A new face is one more row of `FACES`: a context manager that gives a way to open sessions, whose
calls are those of `sandbox.Session`, and a reason for each check that it has no calls for.
"""

import asyncio
import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from serving import KEY, TalkModel, directory, serving

from sandbox import AsyncCommand, AsyncRemoteCommand, AsyncSandbox, Sandbox
from tests.conformance import lacking

Opener = Callable[[], AbstractContextManager[Any]]
"""Opens a `Subject`."""


@dataclass(frozen=True)
class Face:
    """A way to a session."""

    name: str
    started: Callable[[], AbstractContextManager[Opener]]
    """What all its sessions need, such as a server."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Checks that it has no calls for, each with the reason."""
    is_slow: bool = False
    """Whether it takes seconds to start, and is left out where slow tests are."""


@contextlib.contextmanager
def _blocking() -> Iterator[Opener]:
    with Sandbox(pool_size=1) as box:
        yield box.session


@contextlib.contextmanager
def _asynchronous() -> Iterator[Opener]:
    with asyncio.Runner() as runner, _on_loop(runner, AsyncSandbox(pool_size=1)) as opener:
        yield opener


@contextlib.contextmanager
def _remote() -> Iterator[Opener]:
    with (
        serving(directory(TalkModel({}))) as server,
        Sandbox.connect(server.origin, key=KEY) as box,
    ):
        yield box.session


@contextlib.contextmanager
def _remote_asynchronous() -> Iterator[Opener]:
    with (
        serving(directory(TalkModel({}))) as server,
        asyncio.Runner() as runner,
        _on_loop(runner, AsyncSandbox.connect(server.origin, key=KEY)) as opener,
    ):
        yield opener


@contextlib.contextmanager
def _ray() -> Iterator[Opener]:
    pytest.importorskip("ray", reason="ray is not installed. Run: pip install -e '.[dev]'")
    cluster = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "memory": 4 * 1024**3}
    )
    try:
        cluster.add_node(num_cpus=1, memory=4 * 1024**3)
        cluster.wait_for_nodes()
        with Sandbox(engine=f"ray:{cluster.address}?cpus=0.1") as box:
            yield box.session
    finally:
        cluster.shutdown()


def _of(module: str, function: str) -> Callable[[], AbstractContextManager[Opener]]:
    """What starts a face whose client is installed apart from the engine."""

    @contextlib.contextmanager
    def started() -> Iterator[Opener]:
        remedy = "its client is not installed. Run: pip install -e '.[dev]'"
        found = pytest.importorskip(f"tests.conformance.{module}", reason=remedy)
        with getattr(found, function)() as opener:
            yield opener

    return started


@contextlib.contextmanager
def _on_loop(runner: asyncio.Runner, box: Any) -> Iterator[Opener]:
    runner.run(box.__aenter__())
    try:
        yield lambda: contextlib.closing(OnLoop(runner, runner.run(_opened(box))))
    finally:
        runner.run(box.close())


async def _opened(box: Any) -> Any:
    return await box.session()


class OnLoop:
    """An asynchronous session, each call of which is waited for."""

    def __init__(self, runner: asyncio.Runner, session: Any) -> None:
        self._runner = runner
        self._session = session

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def waited(*args: Any, **kwargs: Any) -> Any:
            if inspect.isasyncgenfunction(call):
                return self._each(call(*args, **kwargs))
            return self._wrapped(self._runner.run(_called(call, args, kwargs)))

        return waited

    def _wrapped(self, result: Any) -> Any:
        is_program = isinstance(result, AsyncCommand | AsyncRemoteCommand)
        if is_program or isinstance(result, type(self._session)):
            return OnLoop(self._runner, result)
        if isinstance(result, list):
            return [self._wrapped(one) for one in result]
        return result

    def _each(self, source: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._runner.run(_called(anext, (source,), {}))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(source.aclose())


async def _called(call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What a call gives that is made on the loop, whether or not it has to be awaited."""
    result = call(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


FACES = {
    face.name: face
    for face in (
        Face("Session", _blocking),
        Face("AsyncSession", _asynchronous),
        Face("/v1/sessions by Sandbox.connect", _remote),
        Face("/v1/sessions by AsyncSandbox.connect", _remote_asynchronous),
        Face("the engine on Ray", _ray, is_slow=True),
        Face("MCP by stdio", _of("mcp_subject", "mcp_by_stdio"), lacking.MCP, is_slow=True),
        Face("MCP by HTTP", _of("mcp_subject", "mcp_by_http"), lacking.MCP, is_slow=True),
        Face(
            "E2B by e2b-code-interpreter",
            _of("e2b_subject", "e2b_code_interpreter_client"),
            lacking.E2B,
            is_slow=True,
        ),
        Face("E2B by e2b", _of("e2b_subject", "e2b_client"), lacking.E2B_COMMANDS, is_slow=True),
        Face(
            "Jupyter kernel",
            _of("jupyter_subject", "jupyter_kernel"),
            lacking.JUPYTER,
            is_slow=True,
        ),
        Face(
            "Jupyter gateway",
            _of("jupyter_subject", "jupyter_gateway"),
            lacking.JUPYTER,
            is_slow=True,
        ),
    )
}
