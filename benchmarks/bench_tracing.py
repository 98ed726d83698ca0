"""Tracing: what spans and histograms for a collector add to a request."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.bench_server import CHAT, KEY, once, request, server, upstream
from benchmarks.harness import Bench, benchmark

ROUNDS = 400
CODE = "total = sum(n * n for n in range(1000)); total"


@asynccontextmanager
async def two_servers() -> AsyncIterator[dict[str, int]]:
    """Ports of a server without tracing, and of one that sends all to a collector."""
    async with upstream() as port:
        settings = {
            "CELLBLOCK_MODEL_URL": f"http://127.0.0.1:{port}/v1",
            "CELLBLOCK_API_KEY": KEY,
            "OTEL_SDK_DISABLED": "true",
        }
        # The fixed endpoint answers 200 to whatever it is sent.
        collector = {
            "OTEL_SDK_DISABLED": "",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        }
        async with server(**settings) as (off, _), server(**settings | collector) as (on, _):
            yield {"off": off, "on": on}


@benchmark
async def tracing_of_a_snippet(bench: Bench) -> float:
    """A snippet of a session over REST, with tracing on against off.

    The shortest request that runs code, of a client on the same machine; spans are sent to a
    collector on loopback meanwhile. Leaves out what the collector does with them.
    """
    async with two_servers() as ports:
        paths = {name: await _session(port) for name, port in ports.items()}
        body = json.dumps({"code": CODE}).encode()
        await _in_turns(bench, ports, paths, body)
    return bench.ratio("on", "off")


@benchmark
async def tracing_of_a_round(bench: Bench) -> float:
    """A streamed round of 40 chunks of a model, with tracing on against off."""
    async with two_servers() as ports:
        paths = dict.fromkeys(ports, "/v1/chat/completions")
        await _in_turns(bench, ports, paths, json.dumps(CHAT).encode())
    return bench.ratio("on", "off")


async def _session(port: int) -> str:
    """The path at which a new session runs snippets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/v1/sessions", b""))
    made = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    return f"/v1/sessions/{made['id']}/run"


async def _in_turns(
    bench: Bench, ports: dict[str, int], paths: dict[str, str], body: bytes
) -> None:
    names = list(ports)
    for number in range(-40, ROUNDS):
        for name in names if number % 2 else reversed(names):
            began = time.perf_counter()
            status, _, _ = await once(ports[name], "POST", paths[name], body)
            if status != 200:
                raise RuntimeError(f"the server answered {status}")
            if number >= 0:
                bench.add(name, time.perf_counter() - began)
