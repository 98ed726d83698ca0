"""The server: what it adds to an upstream, many streams at once, its start."""

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.harness import Bench, benchmark, quantile
from benchmarks.processes import memory_bytes
from runner.models.port import (
    CallDelta,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    TurnEnded,
)
from runner.models.replay import exchange_line
from runner.tools.code_interpreter import SPEC
from runner.transcript import Question, ToolCall, ToolResult, Turn

KEY = "sk-bench"
STREAMS = 200
PACE_S = 0.1
SPREAD_S = 2.0
"""Clients begin within so many seconds, evenly; a stream takes more than four, so all are open."""
THOUGHTS, WORDS = 20, 20
ROUNDS = 200
START_CODE = "from runner.commands.serve import *; raise SystemExit(execute(ServeOptions(port=0)))"
QUESTION = "What is 6 times 7?"


@asynccontextmanager
async def process(*arguments: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process with pipes, ended with the block."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **environ},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """The port of a fixed endpoint."""
    async with process("-m", "benchmarks.upstream") as running:
        assert running.stdout is not None
        yield int(await running.stdout.readline())


@asynccontextmanager
async def server(**environ: str) -> AsyncIterator[tuple[int, int]]:
    """Port and process id of a server that is ready, with a data directory of its own."""
    async with AsyncExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory())
        environ["XDG_DATA_HOME"] = folder
        running = await held.enter_async_context(process("-c", START_CODE, **environ))
        assert running.stderr is not None
        found = None
        while found is None:
            line = await running.stderr.readline()
            assert line, "the server did not start"
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", line)
        drain = asyncio.create_task(running.stderr.read())
        port = int(found[1])
        while (await once(port, "GET", "/readyz"))[0] != 200:
            await asyncio.sleep(0.005)
        yield port, running.pid
        drain.cancel()


async def once(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, float, float]:
    """Status, seconds to the first byte of the body, seconds to the last, of one request."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(method, path, body))
    status = int((await reader.readline()).split()[1])
    await reader.readuntil(b"\r\n\r\n")
    await reader.read(1)
    first = time.perf_counter()
    while await reader.read(65536):
        pass
    writer.close()
    return status, first - began, time.perf_counter() - began


def request(method: str, path: str, body: bytes) -> bytes:
    """The bytes of a request on a connection of its own."""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


CHAT = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": True}


async def _beside_the_upstream(bench: Bench) -> None:
    """Fill the series of rounds and first bytes, direct and through the server, in turns."""
    body = json.dumps(CHAT).encode()
    async with upstream() as direct:
        url = f"http://127.0.0.1:{direct}/v1"
        async with server(CELLBLOCK_MODEL_URL=url, CELLBLOCK_API_KEY=KEY) as (port, _pid):
            for number in range(-20, ROUNDS):
                for name, where in (("direct", direct), ("served", port)):
                    status, first, last = await _one(where, body, is_direct=where == direct)
                    assert status == 200
                    if number >= 0:
                        bench.add(f"{name} first", first)
                        bench.add(f"{name} whole", last)


async def _one(port: int, body: bytes, *, is_direct: bool) -> tuple[int, float, float]:
    if not is_direct:
        return await once(port, "POST", "/v1/chat/completions", body)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/v1/chat/completions", body))
    status = int((await reader.readline()).split()[1])
    await reader.readuntil(b"\r\n\r\n")
    await reader.read(1)
    first = time.perf_counter() - began
    await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    return status, first, time.perf_counter() - began


@benchmark
async def server_round(bench: Bench) -> float:
    """A whole streamed round of 40 chunks through the server, minus the same without it, in ms.

    Client, server and upstream share the machine. Leaves out the engine: no tool is called.
    """
    await _beside_the_upstream(bench)
    return bench.extra("served whole", "direct whole") * 1000


@benchmark
async def server_first_event(bench: Bench) -> float:
    """The first byte of the body through the server, minus the same without it, in ms."""
    await _beside_the_upstream(bench)
    return bench.extra("served first", "direct first") * 1000


# ---- many streams -------------------------------------------------------------------------------


def recording() -> str:
    """Two rounds, one call between them, as a file that a replay reads."""
    opened = ModelRequest(entries=(Question(text=QUESTION),), tools=(SPEC,), thinking=True)
    call = ToolCall(id="a", name="code_interpreter", arguments='{"code":"6*7"}')
    first: list[ModelEvent] = [
        *(ReasoningDelta(f"thought {number} ") for number in range(THOUGHTS)),
        CallDelta(0, call.arguments, id=call.id, name=call.name),
        TurnEnded("calls"),
    ]
    result = ToolResult(call_id="a", tool="code_interpreter", shown="42")
    turn = Turn(calls=(call,), results=(result,))
    again = ModelRequest(entries=(*opened.entries, turn), tools=(SPEC,), thinking=True)
    second: list[ModelEvent] = [
        *(TextDelta(f"word {number} ") for number in range(WORDS)),
        TurnEnded("stop"),
    ]
    return f"{exchange_line(opened, first)}\n{exchange_line(again, second)}\n"


@asynccontextmanager
async def replaying() -> AsyncIterator[tuple[int, int]]:
    """A server over a replayed model that takes its time."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "exchanges.jsonl").write_text(recording())
        config = Path(folder) / "config.toml"
        config.write_text(
            f"[server]\nmax_sessions = {STREAMS + 20}\n"
            f'[[keys]]\nkey = "{KEY}"\nsessions = {STREAMS + 20}\n'
            f'[models.m]\nkind = "replay"\npath = "{folder}/exchanges.jsonl"\npace_s = {PACE_S}\n'
        )
        async with server(CELLBLOCK_CONFIG=str(config)) as found:
            yield found


async def stream(port: int, gaps: list[float], *, after_s: float = 0.0) -> bool:
    """Read one stream to its end; whether it ended as it should."""
    await asyncio.sleep(after_s)
    body = json.dumps({**CHAT, "enable_code_interpreter": True, "enable_thinking": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/v1/chat/completions", body))
    last, is_done = time.perf_counter(), False
    while line := await reader.readline():
        if line.startswith((b"data: ", b": ")):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
            is_done = line.startswith(b"data: [DONE]")
    writer.close()
    return is_done


@benchmark
async def server_stream_gap(bench: Bench) -> float:
    """The time between two events of a stream, p99 in ms, of 200 streams that each run a snippet.

    The clients begin within two seconds and are all there at once for two more. The model's own
    pace of 100 ms is part of each gap; the one around the snippet holds three of them and the run.
    """
    async with replaying() as (port, _pid):
        gaps: list[float] = []
        waits = [SPREAD_S * number / STREAMS for number in range(STREAMS)]
        ended = await asyncio.gather(*(stream(port, gaps, after_s=wait) for wait in waits))
        bench.facts["failed"] = float(ended.count(False))
        for gap in gaps:
            bench.add("gap", gap)
        assert all(ended), f"{ended.count(False)} streams did not come to their end"
        return quantile(gaps, 0.99) * 1000


@benchmark
async def server_stream_memory(bench: Bench) -> float:
    """Growth of the server's own process (PSS) by 200 open streams, for each, in MiB."""
    async with replaying() as (port, pid):
        await stream(port, [])
        before = memory_bytes([pid])
        running = [asyncio.create_task(stream(port, [])) for _ in range(STREAMS)]
        most = before
        while not all(task.done() for task in running):
            most = max(most, memory_bytes([pid]))
            await asyncio.sleep(0.2)
        bench.add("growth, MiB", (most - before) / 2**20)
        return (most - before) / STREAMS / 2**20


@benchmark
async def server_start(bench: Bench) -> float:
    """From the start of the process to the first answer 200 of `/readyz`, median of 5, in s.

    With byte code in a cache, as an installation leaves it; a first start fills the cache.
    """
    with tempfile.TemporaryDirectory() as cache:
        for number in range(-1, 5):
            began = time.perf_counter()
            async with server(
                CELLBLOCK_MODEL_URL="http://127.0.0.1:9/v1",
                CELLBLOCK_API_KEY=KEY,
                PYTHONPYCACHEPREFIX=cache,
                PYTHONDONTWRITEBYTECODE="",
            ):
                if number >= 0:
                    bench.add("start", time.perf_counter() - began)
    return statistics.median(bench.series["start"])
