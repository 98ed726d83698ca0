"""What a client asks for is bounded by the policy and the key, at every door."""

import threading
import time

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings, ServerSettings

OTHER = "sk-other-key"
POLICY = {"limits": {"wall_s": 1, "cpu_s": 1, "output_bytes": 1024 * 1024, "kept_bytes": 64 * 1024}}
SPIN = "while True: pass"
SHOUT = "import os\nfor _ in range(64): os.write(1, b'x' * 65536)"


@pytest.fixture(scope="module")
def server():
    keys = (KeySettings(key=KEY, tenant="one", sessions=1), KeySettings(key=OTHER, tenant="two"))
    few = ServerSettings(heartbeat_s=0.2, grace_s=1, max_sessions=3)
    settings = config(keys=keys, policy=POLICY, server=few)
    with serving(directory(TalkModel({})), settings) as running:
        yield running


def client(server, key=KEY):
    return httpx2.Client(
        base_url=server.origin, headers={"authorization": f"Bearer {key}"}, timeout=60
    )


@pytest.fixture
def session(server):
    with client(server) as http:
        made = http.post("/v1/sessions").json()["id"]
        yield lambda body: http.post(f"/v1/sessions/{made}/run", json=body)
        http.delete(f"/v1/sessions/{made}")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", ["wall_s", "cpu_s"])
@pytest.mark.slow
def test_a_client_gets_no_more_time_than_the_policy_gives(session, limit, stream):
    body = {"code": SPIN, "limits": {limit: 604_800}, "stream": stream}
    began = time.monotonic()
    text = session(body).text
    assert '"status":"limit_exceeded"' in text.replace(" ", "")
    assert '"allowed":1.0' in text.replace(" ", "")
    assert time.monotonic() - began < 10


def test_a_client_gets_no_more_output_than_the_policy_gives(session):
    limits = {"output_bytes": 2**50, "kept_bytes": 2**50}
    reply = session({"code": SHOUT, "limits": limits})
    outcome = reply.json()
    assert (outcome["limit"], outcome["allowed"]) == ("output_bytes", 1024 * 1024)
    assert len(outcome["stdout"]) < 70_000


def test_what_is_below_the_policy_holds_as_it_was_asked_for(session):
    outcome = session({"code": "print('x' * 5000)", "limits": {"output_bytes": 1000}}).json()
    assert (outcome["limit"], outcome["allowed"]) == ("output_bytes", 1000)


@pytest.mark.slow
def test_a_program_gets_no_more_time_than_the_policy_gives(server):
    body = {"code": SPIN, "language": "python", "run_timeout": 600}
    with client(server, OTHER) as http:
        result = http.post("/run_code", json=body).json()["run_result"]
    assert result["status"] == "TimeLimitExceeded"
    assert result["execution_time"] < 5


@pytest.mark.slow
def test_programs_count_towards_the_sessions_of_their_key(server):
    code = "import time; time.sleep(0.8)"
    answers = []

    def run() -> None:
        with client(server) as http:
            reply = http.post("/run_code", json={"code": code, "language": "python"})
            answers.append(reply.json()["status"])

    threads = [threading.Thread(target=run) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    server.wait_until(lambda: server.services.slots.of("one") == 1)
    with client(server, OTHER) as http:
        opened = http.post("/v1/sessions")
        assert opened.status_code == 201
        assert time.monotonic() - began < 3, "another key waited for programs of this one"
        http.delete(f"/v1/sessions/{opened.json()['id']}")
    with client(server) as http:
        assert http.post("/v1/sessions").status_code == 429
    for thread in threads:
        thread.join()
    assert answers == ["Success"] * 4
    # One after the other: the key has one session.
    assert time.monotonic() - began > 4 * 0.8
    assert server.services.slots.of("one") == 0


def test_a_program_whose_client_leaves_ends(server):
    body = {"code": "import time; time.sleep(0.9)", "language": "python"}
    with client(server) as http, pytest.raises(httpx2.ReadTimeout):
        http.post("/run_code", json=body, timeout=0.3)
    server.wait_until(lambda: server.services.slots.of("one") == 0, seconds=0.5)


def test_names_that_are_no_utf8_are_listed_and_lead_to_their_files(session, server):
    ran = session({"code": "import os\nopen(b'caf\\xe9.txt', 'w').write('one')"})
    assert ran.json()["artifacts"][0]["path"] == "caf\\udce9.txt"
    with client(server) as http:
        held = http.get("/v1/sessions").json()["data"][0]["id"]
        listed = http.get(f"/v1/sessions/{held}/files")
        assert listed.status_code == 200
        (file,) = listed.json()["data"]
        assert file["path"] == "caf\\udce9.txt"
        assert file["url"] == f"/v1/sessions/{held}/files/caf%E9.txt"
        assert http.get(file["url"]).content == b"one"
        assert http.put(file["url"], content=b"two").status_code == 200
        assert http.get(file["url"]).content == b"two"
        missing = http.get(f"/v1/sessions/{held}/files/%FF")
        assert missing.status_code == 404


def test_a_body_of_many_small_values_is_refused_before_it_is_parsed(server):
    bomb = b'{"name":"x","code":"1","language":"python","a":[' + b"{}," * 1_000_000 + b"{}]}"
    for path in ("/v1/containers", "/v1/responses", "/v1/chat/completions", "/run_code"):
        with client(server) as http:
            reply = http.post(path, content=bomb, headers={"content-type": "application/json"})
        assert (reply.status_code, reply.json()["error"]["message"]) == (
            413,
            "The body has too many values.",
        )
