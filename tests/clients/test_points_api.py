"""Checkpoints, branches and interrupts of sessions over REST, as a client sends them."""

import threading

import httpx2
import pytest
from serving import KEY

BASE = "/v1/sessions"


@pytest.fixture
def client(server):
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.origin, headers=headers) as found:
        found.timeout = httpx2.Timeout(60)
        yield found


@pytest.fixture
def session(client):
    made = client.post(BASE).json()["id"]
    yield made
    client.delete(f"{BASE}/{made}")


def run(client, session, code):
    return client.post(f"{BASE}/{session}/run", json={"code": code}).json()


def test_variables_go_back_to_a_checkpoint_which_stays(client, session):
    run(client, session, "x = 1")
    mark = client.post(f"{BASE}/{session}/checkpoint", json={"name": "one"}).json()
    assert mark["name"] == "one"
    assert mark["snippet"] == 1
    for _ in range(2):
        run(client, session, "x = 2")
        back = client.post(f"{BASE}/{session}/rollback", json={"checkpoint": mark["id"]})
        assert back.json() == mark
        assert run(client, session, "x")["text"] == "1"
    [listed] = client.get(f"{BASE}/{session}/checkpoints").json()["data"]
    assert listed["id"] == mark["id"]
    assert listed["private_bytes"] > 0


def test_a_checkpoint_is_let_go_of_and_need_not_be_there(client, session):
    mark = client.post(f"{BASE}/{session}/checkpoint", json={}).json()["id"]
    place = f"{BASE}/{session}/checkpoints"
    for _ in range(2):
        gone = client.delete(f"{place}/{mark}").json()
        assert gone == {"id": mark, "object": "session.checkpoint.deleted", "deleted": True}
        assert client.get(place).json()["data"] == []


def test_a_checkpoint_that_is_not_there_is_said_to_be_so(client, session):
    missing = client.post(f"{BASE}/{session}/rollback", json={"checkpoint": 99})
    assert missing.status_code == 404
    assert "no checkpoint 99" in missing.json()["error"]["message"]
    assert client.post(f"{BASE}/{session}/rollback", json={}).status_code == 400
    assert client.post(f"{BASE}/sess_none/checkpoint", json={}).status_code == 404


def test_a_session_that_cannot_be_copied_says_why_and_goes_on(client, session):
    code = (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nx = 3"
    )
    run(client, session, code)
    refused = client.post(f"{BASE}/{session}/checkpoint", json={})
    assert refused.status_code == 409
    assert "thread" in refused.json()["error"]["message"]
    assert run(client, session, "x")["text"] == "3"


def test_branches_go_on_by_themselves(client, session):
    run(client, session, "x = 1\nopen('a.txt', 'w').write('a')")
    branch = client.post(f"{BASE}/{session}/fork", json={}).json()["id"]
    two = [one["id"] for one in client.post(f"{BASE}/{session}/fork", json={"n": 2}).json()["data"]]
    assert len({session, branch, *two}) == 4
    run(client, branch, "x = 2\nopen('a.txt', 'w').write('b')")
    assert run(client, session, "x, open('a.txt').read()")["text"] == "(1, 'a')"
    assert run(client, branch, "x, open('a.txt').read()")["text"] == "(2, 'b')"
    assert run(client, two[1], "x")["text"] == "1"
    assert client.post(f"{BASE}/{session}/fork", json={"n": 99}).status_code == 400
    for one in (branch, *two):
        assert client.delete(f"{BASE}/{one}").status_code == 200


def test_an_interrupt_ends_the_snippet_and_its_request_gives_the_outcome(client, server, session):
    run(client, session, "x = 5")
    outcomes = []
    code = "import time\nopen('begun', 'w').close()\ntime.sleep(600)"
    thread = threading.Thread(target=lambda: outcomes.append(run(client, session, code)))
    thread.start()
    files = f"{server.origin}/v1/sessions/{session}/files"
    with httpx2.Client(headers=client.headers) as other:
        server.wait_until(
            lambda: any(one["path"] == "begun" for one in other.get(files).json()["data"])
        )
        assert other.post(f"{server.origin}{BASE}/{session}/interrupt").status_code == 200
    thread.join(30)
    assert outcomes[0]["status"] == "raised"
    assert outcomes[0]["error"]["type"] == "KeyboardInterrupt"
    assert run(client, session, "x")["text"] == "5"


def test_variables_are_listed_with_type_shape_size_and_preview(client, session):
    code = (
        "import math\nimport numpy as np\nn = 3\nwords = ['a'] * 50\ntext = 'é' * 1000\n"
        "grid = np.zeros((3, 4))\n_hidden = 1\ndef double(x): return x * 2"
    )
    run(client, session, code)
    data = client.get(f"{BASE}/{session}/variables").json()["data"]
    found = {one["name"]: one for one in data}
    assert list(found) == ["n", "words", "text", "grid", "double"]
    assert found["n"] == {
        "name": "n", "type": "int", "shape": None, "size_bytes": 28, "preview": "3",
    }  # fmt: skip
    assert found["words"]["shape"] == [50]
    assert found["words"]["preview"].endswith("...]")
    assert len(found["text"]["preview"]) <= 200
    assert found["grid"]["type"] == "numpy.ndarray"
    assert (found["grid"]["shape"], found["grid"]["size_bytes"]) == ([3, 4], 96)
    # Listing them is no trace in the session.
    assert run(client, session, "sorted(k for k in globals() if k[0] != '_')")["text"] == (
        "['double', 'grid', 'math', 'n', 'np', 'text', 'words']"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import builtins, json\njson.dumps = lambda _: '{'",
        "import json\njson.dumps = lambda rows: '[' * 100000",
        "import json\njson.dumps = lambda rows: '[{\"name\": 1}]'",
    ],
)
def test_a_session_that_lies_about_its_variables_is_not_believed(client, session, code):
    run(client, session, code)
    response = client.get(f"{BASE}/{session}/variables")
    assert response.status_code == 409
    assert run(client, session, "1 + 1")["text"] == "2"


def test_a_variable_that_fails_to_be_shown_is_listed_all_the_same(client, session):
    code = (
        "class Bad:\n    def __repr__(self): raise ValueError\n"
        "    @property\n    def shape(self): raise ValueError\n"
        "    def memory_usage(self): return 'much'\nbad = Bad()\ndel Bad"
    )
    run(client, session, code)
    [found] = client.get(f"{BASE}/{session}/variables").json()["data"]
    assert (found["name"], found["type"], found["shape"]) == ("bad", "Bad", None)
    assert found["size_bytes"] > 0
