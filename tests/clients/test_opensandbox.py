"""OpenSandbox's REST of the server: exchanges as LiteLLM's client has them."""

import json

import httpx2
import pytest
from examples import LINES_CAP, example
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

OTHER = "sk-other-key"
WANTED = {
    "image": {"uri": "some/image:v1"},
    "entrypoint": ["/start.sh"],
    "timeout": 300,
    "resourceLimits": {"cpu": "1", "memory": "1Gi"},
    "networkPolicy": {"defaultAction": "deny", "egress": []},
}


@pytest.fixture(scope="module")
def server():
    keys = (
        KeySettings(key=KEY, requests_per_minute=100_000, concurrent_requests=50, sessions=2),
        KeySettings(key=OTHER, tenant="other"),
    )
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture
def http(server):
    headers = {"open-sandbox-api-key": KEY}
    with httpx2.Client(base_url=f"{server.origin}/opensandbox", headers=headers) as client:
        yield client
    for held in server.services.sessions.all():
        server_key = {"authorization": f"Bearer {KEY}"}
        httpx2.delete(f"{server.origin}/v1/sessions/{held.id}", headers=server_key)


def opened(http):
    """The sandbox's id, the address of its code, and the header that goes there."""
    made = http.post("/sandboxes", json=WANTED).json()
    assert made["status"] == {"state": "Running"}
    assert http.get(f"/sandboxes/{made['id']}").json()["status"]["state"] == "Running"
    where = http.get(f"/sandboxes/{made['id']}/endpoints/44772").json()
    return made["id"], where["endpoint"], where["headers"]


def run(endpoint, headers, code, language="python"):
    body = {"code": code, "context": {"language": language}}
    reply = httpx2.post(f"{endpoint}/code", json=body, headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    lines = [line for line in reply.text.splitlines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


def test_a_sandbox_is_made_runs_code_and_ends(http, server):
    sandbox_id, endpoint, headers = opened(http)
    assert server.services.slots.of("default") == 1
    run(endpoint, headers, "x = 41")
    told = run(endpoint, headers, "import sys\nprint('o')\nprint('e', file=sys.stderr)\nx + 1")
    assert [(one["type"], one.get("text") or one.get("results")) for one in told[:-1]] == [
        ("stdout", "o\n"),
        ("stderr", "e\n"),
        ("result", {"text/plain": "42"}),
    ]
    error = next(one for one in run(endpoint, headers, "1 / 0") if one["type"] == "error")
    assert error["error"]["ename"] == "ZeroDivisionError"
    assert http.delete(f"/sandboxes/{sandbox_id}").status_code == 204
    assert http.delete(f"/sandboxes/{sandbox_id}").status_code == 404
    assert server.services.slots.of("default") == 0


def test_code_runs_for_the_token_of_its_sandbox_alone(http):
    _, endpoint, headers = opened(http)
    other_id, other, _ = opened(http)
    body = {"code": "1"}
    for shown in ({}, {"x-sandbox-token": "wrong"}, {"open-sandbox-api-key": KEY}):
        assert httpx2.post(f"{endpoint}/code", json=body, headers=shown).status_code == 401
    assert httpx2.post(f"{other}/code", json=body, headers=headers).status_code == 401
    refused = http.post("/sandboxes", json=WANTED)
    assert refused.status_code == 429
    foreign = {"open-sandbox-api-key": OTHER}
    assert http.get(f"/sandboxes/{other_id}", headers=foreign).status_code == 404
    path = f"/sandboxes/{other_id}/endpoints/44772"
    assert http.get(path, headers=foreign).status_code == 404
    assert (
        http.post("/sandboxes", json=WANTED, headers={"open-sandbox-api-key": ""}).status_code
        == 401
    )
    no_code = httpx2.post(f"{endpoint}/code", json={}, headers=headers)
    assert no_code.status_code == 400
    java = {"code": "1", "context": {"language": "java"}}
    assert httpx2.post(f"{endpoint}/code", json=java, headers=headers).status_code == 400


def test_a_sandbox_that_has_ended_runs_nothing(http):
    sandbox_id, endpoint, headers = opened(http)
    http.delete(f"/sandboxes/{sandbox_id}")
    reply = httpx2.post(f"{endpoint}/code", json={"code": "1"}, headers=headers)
    assert reply.status_code == 404


def test_the_example_of_the_documents_is_code():
    code = example("LiteLLM")
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES_CAP
    assert compile(code, "docs/faces.md", "exec")
