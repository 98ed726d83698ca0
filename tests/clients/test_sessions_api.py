"""The engine over REST: sessions, runs, files, without a model."""

import json

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

OTHER = "sk-other-key"


@pytest.fixture(scope="module")
def server():
    keys = (KeySettings(key=KEY, tenant="one", sessions=2), KeySettings(key=OTHER, tenant="two"))
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.origin, headers={"authorization": f"Bearer {KEY}"}) as one:
        yield one
        for held in one.get("/v1/sessions").json()["data"]:
            one.delete(f"/v1/sessions/{held['id']}")


@pytest.fixture
def session(http):
    reply = http.post("/v1/sessions")
    assert reply.status_code == 201
    return f"/v1/sessions/{reply.json()['id']}"


def test_variables_persist_from_run_to_run(http, session):
    first = http.post(f"{session}/run", json={"code": "x = 41"}).json()
    second = http.post(f"{session}/run", json={"code": "x + 1"}).json()
    assert (first["status"], second["status"], second["text"]) == ("completed", "completed", "42")


def test_a_stream_has_output_as_it_comes_and_the_outcome_last(http, session):
    body = {"code": "print('a')\nopen('f.txt', 'w').write('z')", "stream": True}
    text = http.post(f"{session}/run", json=body).text
    frames = [frame.split("\n") for frame in text.strip().split("\n\n")]
    names = [frame[0].removeprefix("event: ") for frame in frames]
    assert names == ["started", "stdout", "artifact", "finished"]
    outcome = json.loads(frames[-1][1].removeprefix("data: "))
    assert (outcome["status"], outcome["stdout"]) == ("completed", "a\n")


def test_limits_of_a_run_end_it_and_wrong_ones_are_refused(http, session):
    body = {"code": "while True: pass", "limits": {"wall_s": 0.2}}
    assert http.post(f"{session}/run", json=body).json()["limit"] == "wall_s"
    reply = http.post(f"{session}/run", json={"code": "1", "limits": {"memory_bytes": 2**45}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limits")


def test_files_go_in_and_come_out(http, session):
    assert http.put(f"{session}/files/a/b.csv", content=b"1\n2\n").json()["bytes"] == 4
    ran = http.post(f"{session}/run", json={"code": "open('a/b.csv').read()"}).json()
    assert ran["text"] == "'1\\n2\\n'"
    listed = http.get(f"{session}/files").json()["data"]
    assert [file["path"] for file in listed] == ["a/b.csv"]
    reply = http.get(f"{session}/files/a/b.csv")
    assert (reply.content, reply.headers["x-content-type-options"]) == (b"1\n2\n", "nosniff")
    assert http.get(f"{session}/files/none").status_code == 404
    assert http.put(f"{session}/files/..%2Fup", content=b"").status_code == 400


def test_nobody_sees_the_session_of_another_key(http, session):
    stranger = {"authorization": f"Bearer {OTHER}"}
    assert http.get(session, headers=stranger).status_code == 404
    assert http.get("/v1/sessions", headers=stranger).json()["data"] == []
    reply = http.post(f"{session}/run", json={"code": "1"}, headers=stranger)
    assert reply.status_code == 404


def test_a_key_has_no_more_sessions_than_it_may(http, session):
    assert http.post("/v1/sessions").status_code == 201
    reply = http.post("/v1/sessions")
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "limit_requests")


def test_a_deleted_session_is_gone(http, session):
    assert http.delete(session).json()["deleted"] is True
    assert http.get(session).status_code == 404


@pytest.mark.parametrize("body", [{}, {"code": 7}, {"code": "1", "more": 1}])
def test_a_wrong_order_is_400(http, session, body):
    reply = http.post(f"{session}/run", json=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_health_metrics_and_the_document_need_no_key(server):
    assert httpx2.get(f"{server.origin}/healthz").json() == {"status": "ok"}
    assert "cellblock_requests_total" in httpx2.get(f"{server.origin}/metrics").text
    paths = httpx2.get(f"{server.origin}/openapi.json").json()["paths"]
    assert {"/v1/responses", "/v1/chat/completions", "/v1/sessions/{session_id}/run"} <= set(paths)
