"""`AsyncSandbox(engine="ray:...")` on two nodes: placed, spread, lost with their node."""

import asyncio
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import (
    AsyncRaySandbox,
    AsyncRaySession,
    AsyncSandbox,
    AsyncSession,
    Limits,
    NotRemote,
    Policy,
    PolicyError,
    RemoteFailed,
    Sandbox,
    SessionLost,
)
from sandbox.cluster import cluster as clusters

MiB = 1024 * 1024
NODE_BYTES = 1024 * MiB
HEALTH = {  # A lost node is noticed within two seconds, not half a minute.
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
SMALL = Policy(limits=Limits(memory_bytes=400 * MiB))
"""One place of it is all that a node has room for."""
SMALLER = Policy(limits=Limits(memory_bytes=200 * MiB))
"""A node has room for two."""


@pytest.fixture
def cluster() -> Any:
    ray = pytest.importorskip("ray", reason="ray is not installed. Run: pip install -e '.[dev]'")
    head = {"num_cpus": 2, "memory": NODE_BYTES, "_system_config": HEALTH}
    made = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args=head
    )
    yield made
    ray.shutdown()
    made.shutdown()


def add_node(cluster: Any) -> Any:
    node = cluster.add_node(num_cpus=2, memory=NODE_BYTES)
    cluster.wait_for_nodes()
    return node


@pytest.mark.slow
async def test_sessions_are_placed_by_memory_and_a_lost_node_is_a_lost_session(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = add_node(cluster)
    async with AsyncSandbox(SMALL, engine=f"ray:{cluster.address}?cpus=0.5") as box:
        one, other = await box.session(), await box.session()
        assert isinstance(one, AsyncRaySession)
        assert isinstance(other, AsyncRaySession)
        assert one.node != other.node
        assert (await one.run("x = 1; x")).text == "1"
        monkeypatch.setattr(clusters, "PLACED_WITHIN_S", 2.0)
        with pytest.raises(RemoteFailed, match=r"0\.5 processors and 656 MiB"):
            await box.session()
        gone, here = (one, other) if one.node == second.node_id else (other, one)
        began = time.monotonic()
        running = asyncio.ensure_future(gone.run("while True: pass"))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(cluster.remove_node, second, allow_graceful=False)
        with pytest.raises(SessionLost, match="node"):
            await running
        assert time.monotonic() - began < 25
        assert gone.is_live is False
        with pytest.raises(SessionLost):
            await gone.get("f")
        assert (await here.run("2")).text == "2"
        await gone.close()
        await here.close()


@pytest.mark.slow
async def test_a_map_is_spread_and_goes_on_without_a_lost_node(cluster: Any) -> None:
    second = add_node(cluster)
    snippets = [f"import time; time.sleep(0.3); {number}" for number in range(16)]
    seen: list[tuple[int, str | None]] = []
    nodes = set[str]()
    async with AsyncSandbox(SMALLER, engine=f"ray:{cluster.address}") as box:
        assert isinstance(box, AsyncRaySandbox)
        async for index, outcome in box.map(snippets, concurrency=2):
            seen.append((index, outcome.text))
            nodes |= box.nodes
            if index == 4:
                await asyncio.to_thread(cluster.remove_node, second, allow_graceful=False)
    assert seen == [(number, str(number)) for number in range(16)]
    assert len(nodes) >= 2


@pytest.mark.slow
async def test_a_map_whose_cluster_shrinks_goes_on_in_what_is_left(cluster: Any) -> None:
    second = add_node(cluster)
    snippets = [f"import time; time.sleep(0.3); {number}" for number in range(10)]
    async with AsyncSandbox(SMALL, engine=f"ray:{cluster.address}?cpus=0.5") as box:
        seen = []
        async for index, outcome in box.map(snippets, concurrency=2):
            seen.append((index, outcome.text))
            if index == 3:
                # One place is all that there is room for from now on.
                await asyncio.to_thread(cluster.remove_node, second, allow_graceful=False)
                began = time.monotonic()
    assert seen == [(number, str(number)) for number in range(10)]
    assert time.monotonic() - began < 60


@pytest.mark.slow
async def test_a_caller_that_is_cancelled_has_its_snippet_ended(cluster: Any) -> None:
    async with AsyncSandbox(SMALL, engine=f"ray:{cluster.address}") as box:
        async with box.session() as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await session.run("x = 1\nwhile True: pass")
            assert (await session.run("2")).text == "2"
        with pytest.raises(NotRemote):
            box.expect(1)
    assert not importlib.import_module("ray").is_initialized()


# ---- without a cluster --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine",
    [
        *("", "rays:auto", "ray:", "ray:nowhere", "ray:host:x", "ray:ray://h:1", "ray:auto?cpu=1"),
        *("ray:auto?cpus=-1", "ray:auto?cpus=nan", "ray:auto?cpus=", "ray:h:99999"),
    ],
)
@pytest.mark.parametrize("kind", [Sandbox, AsyncSandbox])
def test_what_is_no_engine_is_told_at_once(engine: str, kind: Callable[..., object]) -> None:
    with pytest.raises(PolicyError, match="engine"):
        kind(engine=engine)


def test_without_ray_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(clusters.importlib, "import_module", import_module)
    with pytest.raises(PolicyError, match=r"ray is not installed.*pip install"):
        AsyncSandbox(engine="ray:auto")


async def test_an_address_without_a_cluster_is_an_error_within_seconds() -> None:
    pytest.importorskip("ray", reason="ray is not installed. Run: pip install -e '.[dev]'")
    began = time.monotonic()
    box = AsyncSandbox(engine="ray:127.0.0.1:1")
    with pytest.raises(RemoteFailed, match=r"ray start --head"):
        await box.run("1")
    assert time.monotonic() - began < 30
    await box.close()


@pytest.mark.parametrize(
    ("here", "there", "beside"),
    [
        (AsyncSandbox, AsyncRaySandbox, {"connect", "kept_jails"}),
        (AsyncSession, AsyncRaySession, set()),
    ],
)
def test_the_calls_are_those_of_this_machine(here: type, there: type, beside: set[str]) -> None:
    wanted = {name: row for name, row in signatures(here).items() if name not in beside}
    found = signatures(there)
    assert {name: found.get(name) for name in wanted} == wanted


def signatures(cls: type) -> dict[str, object]:
    """Parameters of the public calls, by name; None for what is no call."""
    found: dict[str, object] = {}
    for name in dir(cls):
        if not name.startswith("_"):
            value = getattr(cls, name)
            rows = inspect.signature(value).parameters.values() if callable(value) else None
            found[name] = rows and [(row.name, row.kind, row.default) for row in rows]
    return found
