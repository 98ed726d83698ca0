"""Commands and values of a session over REST."""

import base64
import time

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings


@pytest.fixture(scope="module")
def server():
    keys = (KeySettings(key=KEY, tenant="one", sessions=4),)
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture
def http(server):
    with httpx2.Client(base_url=server.origin, headers={"authorization": f"Bearer {KEY}"}) as one:
        yield one


@pytest.fixture
def url(http):
    made = f"/v1/sessions/{http.post('/v1/sessions').json()['id']}"
    yield made
    http.delete(made)


def test_a_command_runs_beside_the_interpreter(http, url):
    wanted = {"command": ["sh", "-c", "cat; exit 3"], "stdin": "hello"}
    done = http.post(f"{url}/exec", json=wanted).json()
    wrong = http.post(f"{url}/exec", json={"command": "true", "shell": "zsh"})
    late = http.post(f"{url}/exec", json={"command": "sleep 9", "timeout_s": 0.2}).json()
    assert (done["exit_code"], done["stdout"]) == (3, "hello")
    assert base64.b64decode(done["stdout_base64"]) == b"hello"
    assert wrong.status_code == 400
    assert late["timed_out"] is True


def test_no_program_of_a_client_outlasts_the_policy():
    settings = config(policy={"limits": {"wall_s": 1}})
    with serving(directory(TalkModel({})), settings) as running:
        head = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=running.origin, headers=head, timeout=60) as http:
            url = f"/v1/sessions/{http.post('/v1/sessions').json()['id']}/exec"
            for more in ({"interactive": True}, {}):
                for asked in ({"timeout_s": 600}, {}):
                    wanted = {"command": ["sleep", "20"], "stream": True, **more, **asked}
                    began = time.monotonic()
                    told = http.post(url, json=wanted).text
                    assert '"limit":"wall_s"' in told.replace(" ", ""), told
                    assert time.monotonic() - began < 15


def test_a_value_goes_in_and_comes_back(http, url):
    put = http.put(f"{url}/values/rows", json={"value": [1, {"a": None}]})
    http.post(f"{url}/run", json={"code": "rows.append(2); raw = bytes(rows[:1])"})
    rows = http.get(f"{url}/values/rows").json()
    raw = http.get(f"{url}/values/raw").json()
    missing = http.get(f"{url}/values/nowhere")
    names = [one["name"] for one in http.get(f"{url}/variables").json()["data"]]
    assert put.status_code == 200
    assert rows["value"] == [1, {"a": None}, 2]
    assert (raw["value"], raw["is_base64"]) == ("AQ==", True)
    assert missing.status_code == 404
    assert set(names) == {"rows", "raw"}


def test_odd_ends_and_names_over_the_wire(http, url):
    assert (
        http.post(f"{url}/exec", json={"command": "kill -40 $$"}).json()["signal"] == "SIGRTMIN+6"
    )
    killed = http.post(f"{url}/run", json={"code": "import os; os.kill(os.getpid(), 41)"}).json()
    assert (killed["status"], killed["signal"]) == ("died", "SIGRTMIN+7")
    wanted = {"command": ["sleep", "30"], "stream": True, "interactive": True}
    with http.stream("POST", f"{url}/exec", json=wanted) as told:
        lines = told.iter_lines()
        started = next(line for line in lines if line.startswith("data:"))
        command = started.split('"command_id":')[1].strip(' "}')
        signal = f"{url}/commands/{command}/signal"
        wrong = http.post(signal, json={"signal": "SIGNONE"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "signal")
        assert http.post(signal, json={"signal": "SIGRTMIN+6"}).status_code == 200
        assert any('"SIGRTMIN+6"' in line for line in lines)
    assert http.put(f"{url}/files/a%0Ab", content=b"1").status_code in (200, 201)
    assert http.get(f"{url}/files/a%0Ab").content == b"1"
    long_name = http.get(f"{url}/values/{'x' * 5000}")
    assert (long_name.status_code, long_name.json()["error"]["param"]) == (400, "name")
    assert http.post(f"{url}/run", json={"code": "1"}).json()["text"] == "1"
