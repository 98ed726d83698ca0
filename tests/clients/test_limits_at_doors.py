"""No door gives more than the policy, or more sessions than a key has: one table of doors."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from e2b_wire import Wire
from mcp_wire import INITIALIZE
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

WALL_S = 0.5
MEMORY_BYTES = 192 << 20
SESSIONS = 2
LIMITS = {"wall_s": WALL_S, "cpu_s": 5, "memory_bytes": MEMORY_BYTES}
POLICY = {"limits": LIMITS}
# Each says so on the way, should it be let.
WAITS = "import time\nfor _ in range(40): time.sleep(0.1)\nprint('too ' + 'long')"
TAKES = "held = bytearray(1 << 29)\nprint('too ' + 'much')"
SHELL = "sleep 4; echo too' 'long"
ACCEPT = {"accept": "application/json, text/event-stream"}
pytestmark = pytest.mark.slow


class Client:
    """A client of one key: plain HTTP, MCP's and E2B's."""

    def __init__(self, origin: str) -> None:
        keys = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "open-sandbox-api-key": KEY}
        self.http = httpx2.Client(base_url=origin, headers=keys, timeout=60)
        self.wire = Wire(origin)

    def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        return self.http.post(path, json=body, headers=headers)

    def session(self) -> str:
        """A new session of `/v1`, by its path."""
        return f"/v1/sessions/{self.post('/v1/sessions', {}).json()['id']}"

    def tool(self, name: str, **arguments: object) -> str:
        """What a tool of MCP answers, in a connection of its own."""
        met = self.post("/mcp", INITIALIZE, **ACCEPT)
        call = {"name": name, "arguments": arguments}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
        headers = {**ACCEPT, "mcp-session-id": met.headers["mcp-session-id"]}
        return self.post("/mcp", asked, **headers).text

    def opensandbox(self, code: str) -> str:
        """What a new sandbox says of `code`."""
        place = f"/opensandbox/sandboxes/{self.post('/opensandbox/sandboxes', {}).json()['id']}"
        headers = self.http.get(f"{place}/endpoints/44772").json()["headers"]
        return self.post(f"{place}/execd/code", {"code": code, "timeout": 10**6}, **headers).text

    def end_all(self) -> None:
        """End what the key has open."""
        for one in self.http.get("/v1/sessions").json()["data"]:
            assert self.http.delete(f"/v1/sessions/{one['id']}").status_code == 200


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    key = KeySettings(key=KEY, requests_per_minute=100_000, sessions=SESSIONS)
    with serving(directory(TalkModel({})), config(keys=(key,), policy=POLICY)) as server:
        made = Client(server.origin)
        with made.http, made.wire:
            yield made


def _program(**more: object) -> Callable[[Client], str]:
    body = {"language": "python", "run_timeout": 600, "compile_timeout": 600} | more
    return lambda client: client.post("/run_code", body).text


def _libre(**more: object) -> Callable[[Client], str]:
    return lambda client: client.post("/librechat/exec", more).text


def _run(**limits: object) -> Callable[[Client], str]:
    body = {"code": WAITS, "limits": limits}
    return lambda client: client.post(f"{client.session()}/run", body).text


SLOW: dict[str, Callable[[Client], Any]] = {
    "/run": _run(wall_s=600_000, cpu_s=600_000),
    "/exec": lambda client: (
        client.post(f"{client.session()}/exec", {"command": SHELL, "timeout_s": 600}).text
    ),
    "/run_code python": _program(code=WAITS),
    "/run_code bash": _program(code=SHELL, language="bash"),
    "/run_jupyter": lambda client: (
        client.post(
            "/run_jupyter", {"cells": [WAITS], "cell_timeout": 600, "total_timeout": 600}
        ).text
    ),
    "librechat py": _libre(lang="py", code=WAITS, timeout=600_000),
    "librechat arguments": _libre(lang="py", code=WAITS, args=["1"]),
    "librechat bash": _libre(lang="bash", code=SHELL),
    "librechat programmatic": lambda client: (
        client.post(
            "/librechat/exec/programmatic", {"code": WAITS, "timeout": 600_000, "tools": []}
        ).text
    ),
    "mcp run_python": lambda client: client.tool("run_python", code=WAITS, timeout_s=3600),
    "mcp run_command": lambda client: client.tool("run_command", command=SHELL, timeout_s=3600),
    "opensandbox": lambda client: client.opensandbox(WAITS),
    "e2b execute": lambda client: client.wire.create().execute(WAITS),
    "e2b process": lambda client: client.wire.create().stream(
        "process.Process/Start",
        {"process": {"cmd": "/bin/sh", "args": ["-c", SHELL]}},
        **{"connect-timeout-ms": "600000"},
    ),
}
LARGE: dict[str, Callable[[Client], Any]] = {
    "/run": lambda client: client.post(f"{client.session()}/run", {"code": TAKES}).text,
    "/run_code": _program(code=TAKES, memory_limit_MB=2**30),
    "/run_jupyter": lambda client: client.post("/run_jupyter", {"cells": [TAKES]}).text,
    "librechat": _libre(lang="py", code=TAKES),
    "mcp": lambda client: client.tool("run_python", code=TAKES),
    "opensandbox": lambda client: client.opensandbox(TAKES),
    "e2b": lambda client: client.wire.create().execute(TAKES),
}


@pytest.mark.parametrize("door", SLOW)
def test_no_door_lets_code_run_for_longer(client: Client, door: str) -> None:
    said = json.dumps(SLOW[door](client))
    client.end_all()
    assert "too long" not in said
    assert any(word in said for word in ("wall_s", "TimeLimit", "Time limit", "timed_out")), said


@pytest.mark.parametrize("door", LARGE)
def test_no_door_lets_code_take_more_memory(client: Client, door: str) -> None:
    said = json.dumps(LARGE[door](client))
    client.end_all()
    assert "too much" not in said
    assert any(word in said for word in ("memory_bytes", "MemoryError", "imit")), said


REFUSED: dict[str, Callable[[Client], httpx2.Response]] = {
    "run's memory": lambda client: client.post(
        f"{client.session()}/run", {"code": "1", "limits": {"memory_bytes": 2**40}}
    ),
    "session's memory": lambda client: client.post("/v1/sessions", {"memory_bytes": 2**40}),
    "container's memory": lambda client: client.post(
        "/v1/containers", {"name": "n", "memory_limit": "64g"}
    ),
    "e2b's time": lambda client: client.wire.api(
        "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 10**9}
    ),
    "e2b's metadata": lambda client: client.wire.api(
        "POST",
        "/v2/sandboxes",
        {"templateID": "base", "metadata": {str(n): "x" * 1000 for n in range(1000)}},
    ),
    "kept output": lambda client: client.post(
        f"{client.session()}/run", {"code": "1", "limits": {"kept_bytes": 2**50}}
    ),
    "processes": lambda client: client.post(
        f"{client.session()}/run", {"code": "1", "limits": {"processes": 10**6}}
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_lowered_is_refused(client: Client, what: str) -> None:
    reply = REFUSED[what](client)
    client.end_all()
    assert reply.status_code in (400, 413), reply.text


OPENED: dict[str, Callable[[Client], str]] = {
    "/v1": lambda client: client.post("/v1/sessions", {}).text,
    "mcp": lambda client: client.tool("run_python", code="1", session="other"),
    "opensandbox": lambda client: client.post("/opensandbox/sandboxes", {}).text,
    "e2b": lambda client: client.wire.api("POST", "/v2/sandboxes", {"templateID": "base"}).text,
    "jupyter": lambda client: client.post("/api/kernels", {}).text,
    "fork": lambda client: client.post(f"{_first(client)}/fork", {}).text,
}


def _first(client: Client) -> str:
    return f"/v1/sessions/{client.http.get('/v1/sessions').json()['data'][0]['id']}"


@pytest.mark.parametrize("door", OPENED)
def test_sessions_of_every_door_count_towards_the_key(client: Client, door: str) -> None:
    for _ in range(SESSIONS):
        assert client.post("/v1/sessions", {}).status_code == 201
    said = OPENED[door](client)
    client.end_all()
    assert f"This key may have {SESSIONS} sessions at once." in said
