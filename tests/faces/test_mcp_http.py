"""The MCP server in `cellblock serve`, through the official client over loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("mcp", reason="pip install 'mcp>=2.3'")

import httpx2
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_wire import INITIALIZE
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings, ServerSettings
from runner.server.mcp.doors import BODY_CAP_BYTES

OTHER_KEY = "sk-other-key"
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    keys = (
        KeySettings(key=KEY, tenant="one", sessions=2, concurrent_requests=6),
        KeySettings(key=OTHER_KEY, tenant="two", sessions=2),
    )
    settings = config(keys=keys, policy={"limits": {"wall_s": 3, "cpu_s": 3}})
    with serving(directory(TalkModel({})), settings) as running:
        yield running


@asynccontextmanager
async def connected(server, key: str = KEY) -> AsyncIterator[ClientSession]:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(f"{server.origin}/mcp", http_client=http) as (read, write),
        ClientSession(read, write) as client,
    ):
        await client.initialize()
        yield client


@asynccontextmanager
async def connected_by_sse(server) -> AsyncIterator[ClientSession]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        sse_client(f"{server.origin}/sse", headers=headers) as (read, write),
        ClientSession(read, write) as client,
    ):
        yield client


def listed(server, key: str = KEY) -> list[str]:
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx2.get(f"{server.origin}/v1/sessions", headers=headers)
    return [one["id"] for one in answer.json()["data"]]


async def test_a_session_outlives_a_connection_and_belongs_to_its_key(server):
    async with connected(server) as client:
        await client.call_tool("run_python", {"code": "x = 20", "session": "a"})
    async with connected(server) as client:
        kept = await client.call_tool("run_python", {"code": "x + 1", "session": "a"})
        plain = await client.call_tool("run_command", {"command": "echo hi", "session": "a"})
        assert len(listed(server)) == 1
    async with connected(server, OTHER_KEY) as client:
        other = await client.call_tool("run_python", {"code": "x", "session": "a"})
        await client.call_tool("reset", {"session": "a"})
    async with connected(server) as client:
        await client.call_tool("reset", {"session": "a"})
    assert kept.structured_content["text"] == "21"
    assert plain.structured_content["stdout"] == "hi\n"
    assert "NameError" in other.content[0].text
    assert listed(server) == listed(server, OTHER_KEY) == []


async def test_output_is_told_as_progress_while_the_code_runs(server):
    told = []

    async def note(progress: float, _total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with connected(server) as client:
        code = "import time\nfor n in range(3): print(n, flush=True); time.sleep(0.6)"
        done = await client.call_tool("run_python", {"code": code}, progress_callback=note)
        await client.call_tool("reset", {})
    assert done.structured_content["stdout"] == "0\n1\n2\n"
    assert told[0] == (1.0, "0")


async def test_sessions_count_towards_those_of_the_key(server):
    async with connected(server) as client:
        for name in ("a", "b"):
            assert not (await client.call_tool("list_files", {"session": name})).is_error
        refused = await client.call_tool("list_files", {"session": "c"})
        made = httpx2.post(
            f"{server.origin}/v1/sessions", headers={"authorization": f"Bearer {KEY}"}
        )
        # An operator, or the sweep, ends one: its name gets a fresh session.
        headers = {"authorization": f"Bearer {KEY}"}
        httpx2.delete(f"{server.origin}/v1/sessions/{listed(server)[0]}", headers=headers)
        again = await client.call_tool("list_files", {"session": "a"})
        for name in ("a", "b"):
            await client.call_tool("reset", {"session": name})
    assert refused.is_error
    assert "This key may have 2 sessions at once" in refused.content[0].text
    assert made.status_code == 429
    assert not again.is_error
    assert listed(server) == []


async def test_what_is_asked_for_is_lowered_to_the_policy(server):
    async with connected(server) as client:
        late = await client.call_tool("run_python", {"code": "while True: pass", "timeout_s": 900})
        slow = await client.call_tool("run_command", {"command": "sleep 60", "timeout_s": 900})
        await client.call_tool("reset", {})
    assert late.structured_content["status"] == "limit_exceeded"
    assert slow.structured_content["timed_out"] is True


async def test_a_door_has_the_rules_of_the_server(server):
    url, key = f"{server.origin}/mcp", {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(timeout=60) as http:
        nobody = await http.post(url, json=INITIALIZE, headers=ACCEPT)
        by_sse = await http.get(f"{server.origin}/sse")
        far = await http.post(
            url, json=INITIALIZE, headers={**ACCEPT, **key, "host": "evil.example"}
        )
        page = await http.post(
            url, json=INITIALIZE, headers={**ACCEPT, **key, "origin": "https://evil.example"}
        )
        large = await http.post(url, content=b" " * (BODY_CAP_BYTES + 1), headers={**ACCEPT, **key})
        many = b"[" + b"{}," * 500_000 + b"{}]"
        crowded = await http.post(url, content=many, headers={**ACCEPT, **key})
        text = await http.post(url, content=b"x", headers={**key, "content-type": "text/plain"})
        good = await http.post(url, json=INITIALIZE, headers={**ACCEPT, **key})
        number = good.headers["mcp-session-id"]
        stolen = await http.post(
            url,
            json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
            headers={
                **ACCEPT,
                "authorization": f"Bearer {OTHER_KEY}",
                "mcp-session-id": number,
                "mcp-protocol-version": "2025-11-25",
            },
        )
        ended = await http.delete(url, headers={**ACCEPT, **key, "mcp-session-id": number})
    assert (nobody.status_code, by_sse.status_code) == (401, 401)
    assert (far.status_code, page.status_code) == (403, 403)
    assert (large.status_code, crowded.status_code, text.status_code) == (413, 413, 400)
    assert (good.status_code, stolen.status_code, ended.status_code) == (200, 404, 200)


async def test_listening_streams_hold_places_of_their_key(server):
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        streams = [http.stream("GET", f"{server.origin}/sse") for _ in range(6)]
        for stream in streams:
            assert (await stream.__aenter__()).status_code == 200
        refused = await http.get(f"{server.origin}/sse")
        for stream in streams:
            await stream.__aexit__(None, None, None)
    assert refused.status_code == 429


async def test_a_model_server_finds_python_over_sse_with_a_session_a_connection(server):
    async with connected_by_sse(server) as client:
        about = await client.initialize()
        tools = (await client.list_tools()).tools
        await client.call_tool("python", {"code": "x = 6"})
        found = await client.call_tool("python", {"code": "x * 7"})
        async with connected_by_sse(server) as second:
            await second.initialize()
            other = await second.call_tool("python", {"code": "x"})
    assert about.server_info.name == "python"
    assert [tool.name for tool in tools] == ["python"]
    assert found.content[0].text == "completed\nvalue: 42"
    assert "NameError" in other.content[0].text
    async with asyncio.timeout(20):
        while listed(server):
            await asyncio.sleep(0.05)


async def test_a_stop_of_the_server_ends_its_listeners():
    settings = config(server=ServerSettings(heartbeat_s=0.2, grace_s=30))
    loop = asyncio.get_running_loop()
    with serving(directory(TalkModel({})), settings) as running:
        async with connected(running) as client:
            await client.call_tool("run_python", {"code": "x = 1"})
            assert running.loop is not None
            began = loop.time()
            drained = asyncio.run_coroutine_threadsafe(
                running.services.streams.drain(30), running.loop
            )
            await asyncio.wrap_future(drained)
            assert loop.time() - began < 15


async def test_names_that_are_no_utf_8_are_listed_and_bytes_are_no_text(server):
    code = "open(b'\\xff', 'w').close(); open('zeros', 'wb').write(bytes(100_000)); print('made')"
    async with connected(server) as client:
        made = await client.call_tool("run_python", {"code": code, "session": "odd"})
        listed = await client.call_tool("list_files", {"session": "odd"})
        zeros = await client.call_tool("read_file", {"path": "zeros", "session": "odd"})
        await client.call_tool("reset", {"session": "odd"})
    assert made.structured_content["stdout"] == "made\n"
    assert listed.structured_content["files"] == ["zeros", r"\udcff"]
    assert zeros.structured_content["encoding"] == "base64"


async def test_a_file_that_is_too_large_is_not_read(server):
    code = "open('sparse', 'wb').truncate(100 << 20)"
    async with connected(server) as client:
        await client.call_tool("run_python", {"code": code, "session": "large"})
        refused = await client.call_tool("read_file", {"path": "sparse", "session": "large"})
        await client.call_tool("reset", {"session": "large"})
    assert refused.is_error
    assert "at most 8388608 are sent" in refused.content[0].text
