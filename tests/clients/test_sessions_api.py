"""The engine over REST: sessions, runs, files, without a model."""

import json

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings, ServerSettings
from tests.wheels import wheel

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
    refused = http.put(f"{session}/files/..%2Fup", content=b"")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "file_not_permitted")


def test_files_lie_wherever_a_session_may_write(http, session):
    assert http.put(f"{session}/files//tmp/a.txt", content=b"temporary").status_code == 200
    assert http.put(f"{session}/files/%2Fhome%2Fuser%2Fb.txt", content=b"home").status_code == 200
    read = "open('/tmp/a.txt').read() + open('/home/user/b.txt').read()"
    assert http.post(f"{session}/run", json={"code": read}).json()["text"] == "'temporaryhome'"
    listed = http.get(f"{session}/files", params={"path": "/home/user"}).json()["data"]
    assert [file["path"] for file in listed] == ["/home/user/b.txt"]
    assert http.get(listed[0]["url"]).content == b"home"


def test_a_file_that_is_longer_than_a_body_is_sent_in_pieces(http, session):
    large = bytes(range(256)) * 20_000
    pieces = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
    assert http.put(f"{session}/files/large.bin", content=pieces).json()["bytes"] == len(large)
    found = http.post(f"{session}/files/stat", json={"path": "large.bin"}).json()
    assert (found["kind"], found["size_bytes"], found["mode"]) == ("file", len(large), 0o644)
    assert http.get(f"{session}/files/large.bin").content == large
    full = (bytes(4 << 20) for _ in range(80))
    reply = http.put(f"{session}/files/more", content=full)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "file_no_room")


def test_directories_are_made_listed_and_removed(http, session):
    assert http.post(f"{session}/files/mkdir", json={"path": "a/b"}).json()["kind"] == "directory"
    again = http.post(f"{session}/files/mkdir", json={"path": "a/b", "exist_ok": False})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "file_exists")
    http.put(f"{session}/files/a/c.txt", content=b"c")
    found = http.post(f"{session}/files/list", json={"path": "a"}).json()["data"]
    assert [(one["path"], one["kind"]) for one in found] == [
        ("a/b", "directory"),
        ("a/c.txt", "file"),
    ]
    assert http.delete(f"{session}/files/a").status_code == 409
    assert http.delete(f"{session}/files/a", params={"recursive": True}).json()["deleted"] is True
    assert http.post(f"{session}/files/list", json={}).json()["data"] == []
    assert http.delete(f"{session}/files/a").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("none", 404, "file_not_found"),
        ("folder", 409, "file_is_directory"),
        ("file/a", 409, "file_not_directory"),
        ("/etc/passwd", 403, "file_not_permitted"),
        ("link", 400, "file_refused"),
    ],
)
def test_a_refusal_tells_its_reason_by_its_code(http, session, path, status, code):
    made = "import os; os.mkdir('folder'); open('file', 'w'); os.symlink('/etc/passwd', 'link')"
    http.post(f"{session}/run", json={"code": made})
    reply = http.get(f"{session}/files/{path}")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, "path")
    wrong = http.post(f"{session}/files/stat", json={"path": 7})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "path")


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
    paths = httpx2.get(f"{server.origin}/openapi.json", timeout=60).json()["paths"]
    assert {"/v1/responses", "/v1/chat/completions", "/v1/sessions/{session_id}/run"} <= set(paths)


def test_packages_are_installed_only_where_the_owner_allows_it(
    http, session, tmp_path, monkeypatch
):
    body = {"packages": ["cbweb"]}
    refused = http.post(f"{session}/install", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "access_denied")
    wheel(tmp_path, "cbweb", "1.5")
    for name, value in (("FIND_LINKS", str(tmp_path)), ("NO_INDEX", "1"), ("OFFLINE", "1")):
        monkeypatch.setenv(f"UV_{name}", value)
        monkeypatch.setenv(f"PIP_{name}", value)
    allowed = config(server=ServerSettings(install=True))
    with serving(directory(TalkModel({})), allowed) as running:
        key = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=running.origin, headers=key, timeout=60) as client:
            place = f"/v1/sessions/{client.post('/v1/sessions').json()['id']}"
            assert client.post(f"{place}/install", json=body).json()["packages"] == ["cbweb==1.5"]
            code = {"code": "import cbweb; cbweb.VERSION"}
            assert client.post(f"{place}/run", json=code).json()["text"] == "'1.5'"
            missing = client.post(f"{place}/install", json={"packages": ["cbnone"]})
            assert missing.status_code == 409
            assert str(tmp_path) not in missing.text
            for wrong in (["--index-url=http://a"], [], [7]):
                reply = client.post(f"{place}/install", json={"packages": wrong})
                assert reply.status_code == 400, reply.text
