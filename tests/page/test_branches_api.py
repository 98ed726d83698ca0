"""Branches of a conversation as the page asks for them: all of them, or none."""

import httpx2
import pytest
from page_talks import SET_1, SHOW, PageModel
from serving import KEY, MODEL, config, directory, serving

from runner.config import KeySettings

FILE_BYTES = 100_000


@pytest.fixture
def http():
    """A server that keeps three files of its key, and no fourth."""
    settings = config(keys=(KeySettings(key=KEY, tenant="one", stored_bytes=FILE_BYTES * 7 // 2),))
    with (
        serving(directory(PageModel()), settings) as server,
        httpx2.Client(
            base_url=server.origin, headers={"authorization": f"Bearer {KEY}"}, timeout=60
        ) as client,
    ):
        yield client


def ask(http, conversation, question):
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    asked = {"model": MODEL, "input": question, "tools": tools, "conversation": conversation}
    reply = http.post("/v1/responses", json=asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


def counts(http):
    conversations = http.get("/page/conversations").json()["data"]
    containers = http.get("/v1/containers").json()["data"]
    return len(conversations), len(containers)


def test_a_branch_that_is_refused_leaves_none_of_those_before_it(http):
    made = http.post("/v1/conversations", json={"metadata": {"page": "1"}}).json()
    container = ask(http, made["id"], SET_1)["output"][0]["container_id"]
    kept = http.post(f"/v1/containers/{container}/files", files={"file": b"x" * FILE_BYTES})
    assert kept.status_code == 200, kept.text
    path = f"/page/conversations/{made['id']}/branches"
    for _ in range(2):
        refused = http.post(path, json={"count": 3})
        assert refused.status_code == 429, refused.text
        assert counts(http) == (1, 1)
    # What they had is given back: as many as there is room for are made now.
    branches = http.post(path, json={"count": 2})
    assert branches.status_code == 200, branches.text
    assert counts(http) == (3, 3)
    for branch in branches.json()["data"]:
        shown = ask(http, branch["id"], SHOW)["output"][0]
        assert "x = 1" in str(shown)
