"""The network by name, from inside real jails to servers on the host's loopback."""

import functools
import http.server
import importlib.util
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Attempt, Completed, Outcome, Policy, Raised, Sandbox, Secret
from tests.wheels import wheel

FETCH = """
import urllib.request, urllib.error
def fetch(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error.reason)
"""
FETCHES_LINE = 5
"""Of `FETCH`: where it asks."""


class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('Authorization')}".encode()
        self.server.seen.append(body.decode())  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


def serving(handler: Callable[..., Any]) -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    yield from serving(Echo)


def test_a_named_host_is_reached_and_billed(server):
    port = server.server_address[1]
    with Sandbox(Policy(network=[f"127.0.0.1:{port}!"])) as box, box.session() as session:
        session.run(FETCH)
        outcome = session.run(f"fetch('http://127.0.0.1:{port}/a')")
        after = session.run("1")
    assert outcome.text == "(200, '/a None')"
    assert (outcome.usage.requests, after.usage.requests) == (1, 0)
    assert outcome.usage.received_bytes > len("/a None")
    assert outcome.denials == ()


def test_another_host_is_refused_with_the_rule_that_would_allow_it(server):
    port = server.server_address[1]
    with Sandbox(Policy(network=["example.org:443"])) as box:
        outcome = box.run(
            FETCH + f"fetch('http://other.example:{port}/') + fetch('https://b.example/')"
        )
    assert isinstance(outcome, Completed)
    assert "403" in outcome.text
    assert [(one.layer, one.tried, one.allow_with) for one in outcome.denials] == [
        ("network", f"GET other.example:{port}", f'network = ["other.example:{port}"]'),
        ("network", "CONNECT b.example:443", 'network = ["b.example:443"]'),
    ]


def attempted(outcome: Outcome) -> list[Attempt]:
    return [one for one in outcome.attempts if one.layer == "network"]


@pytest.mark.parametrize("trace", [False, True])
def test_each_refusal_of_the_proxy_is_told_and_counted(trace, monkeypatch):
    monkeypatch.setattr("sandbox.network.proxy._resolve", to_loopback)
    code = (
        "for _ in range(3): fetch('http://other.example:81/a')\n"
        "fetch('http://10.0.0.7/')\n"
        "fetch('http://bound.example/x')\n"
        "fetch('https://b.example/')"
    )
    policy = Policy(network=["*.example:80"], trace=trace)
    with Sandbox(policy) as box, box.session() as session:
        session.run(FETCH)
        outcome = session.run(code)
        after = session.run("1")
    told = {one.arguments["host"]: one for one in outcome.denials}
    assert {host: (one.arguments["port"], one.count) for host, one in told.items()} == {
        "other.example": ("81", 3),
        "10.0.0.7": ("80", 1),
        "bound.example": ("80", 1),
        "b.example": ("443", 1),
    }
    assert [one.line for one in told.values()] == [FETCHES_LINE if trace else 0] * 4
    assert [tomllib.loads(one.allow_with)["network"] for one in told.values()] == [
        ["other.example:81"],
        ["10.0.0.7:80!"],
        ["bound.example:80!"],
        ["b.example:443"],
    ]
    assert told["bound.example"].rule == "*.example:80"
    assert told["b.example"].sentence == (
        "The request CONNECT b.example:443 was not sent: "
        "b.example:443 is in no rule of the policy's network."
    )
    assert not any(one.is_guests_word for one in outcome.denials)
    same = [(one.tried, one.count, one.allow_with, one.line) for one in outcome.denials]
    tried = [(one.tried, one.count, one.allow_with, one.line) for one in attempted(outcome)]
    assert tried == (same if trace else [])
    assert not any(one.is_allowed or one.is_guests_word for one in attempted(outcome))
    assert after.denials == after.attempts == ()


def test_what_the_guest_does_not_tell_of_a_refused_request_the_host_does():
    policy = Policy(network=["example.org:443"], trace=True)
    code = (
        "import socket\n"
        "with socket.create_connection(('127.0.0.1', 3128)) as s:\n"
        "    s.sendall(b'POST http://other.example/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "    s.recv(100)"
    )
    with Sandbox(policy) as box:
        outcome = box.run(code)
    [tried] = attempted(outcome)
    assert (tried.tried, tried.is_allowed, tried.line) == ("POST other.example:80", False, 0)
    assert [one.tried for one in outcome.denials] == ["POST other.example:80"]


def test_a_flood_of_refused_hosts_is_counted_and_not_kept():
    with Sandbox(Policy(network=["example.org:443"], trace=True)) as box:
        outcome = box.run(FETCH + "for i in range(130): fetch(f'http://h{i}.example/')")
    assert isinstance(outcome, Completed)
    assert len(outcome.denials) == 101
    assert (outcome.denials[-1].tried, outcome.denials[-1].count) == (
        "further requests, counted and not listed",
        30,
    )


def test_without_the_proxy_there_is_still_no_network(server):
    port = server.server_address[1]
    with Sandbox(Policy(network=["example.org:443"])) as box:
        outcome = box.run(
            "import socket\n"
            "def reach(place):\n"
            "    try:\n"
            "        socket.create_connection(place, 2)\n"
            "        return 'connected'\n"
            "    except OSError as error:\n"
            "        return error.errno\n"
            f"[reach(('127.0.0.1', {port})), reach(('203.0.113.1', 80))]"
        )
    assert outcome.text == "[111, 101]"


async def to_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def test_a_secret_is_a_placeholder_inside_and_the_value_on_its_way(server, monkeypatch):
    port = server.server_address[1]
    monkeypatch.setattr("sandbox.network.proxy._resolve", to_loopback)
    policy = Policy(
        network=[f"api.example:{port}!"],
        secrets={"API_KEY": Secret("the-real-value", hosts=["api.example"])},
    )
    with Sandbox(policy) as box:
        outcome = box.run(
            FETCH + "import os\nkey = os.environ['API_KEY']\n"
            f"(key, fetch('http://api.example:{port}/s', Authorization=key))"
        )
    assert isinstance(outcome, Completed)
    assert server.seen == ["/s the-real-value"]
    assert "the-real-value" not in outcome.model_dump_json()
    assert outcome.text.count("cellblock-secret-") == 2


def test_a_branch_has_a_way_out_of_its_own(server):
    port = server.server_address[1]
    with Sandbox(Policy(network=[f"127.0.0.1:{port}!"])) as box, box.session() as session:
        session.run(FETCH)
        branch = session.fork()
        outcome = branch.run(f"fetch('http://127.0.0.1:{port}/b')")
        branch.close()
        own = session.run(f"fetch('http://127.0.0.1:{port}/o')")
    assert (outcome.text, own.text) == ("(200, '/b None')", "(200, '/o None')")
    assert (outcome.usage.requests, own.usage.requests) == (1, 1)


def test_curl_finds_the_proxy_and_its_refusal():
    with Sandbox(Policy(network=["example.org:443"])) as box:
        outcome = box.run(
            "import subprocess\n"
            "subprocess.run(['curl', '-sS', '-m', '10', 'https://other.example/'],"
            " capture_output=True, text=True).stderr"
        )
    assert "403" in outcome.text


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index over the files of a directory."""

    def log_message(self, _form: str, request: str, *_more: object) -> None:
        self.server.seen.append(request)  # type: ignore[attr-defined]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    project = tmp_path / "simple" / "cbone"
    project.mkdir(parents=True)
    wheel(project, "cbone", "1.0")
    yield from serving(functools.partial(Index, directory=str(tmp_path)))


@pytest.mark.slow
def test_pip_inside_reaches_an_index_that_the_policy_allows(index):
    if importlib.util.find_spec("pip") is None:
        pytest.skip("there is no pip: python -m ensurepip")
    port = index.server_address[1]
    install = "!python -m pip install -q --no-input --retries 0 --index-url"
    with Sandbox(Policy(network=[f"127.0.0.1:{port}!"])) as box, box.session() as session:
        installed = session.run(f"{install} http://127.0.0.1:{port}/simple/ cbone")
        found = session.run("import cbone\ncbone.VERSION")
        other = f"--trusted-host other.example http://other.example:{port}/simple/"
        refused = session.run(f"{install} {other} cbtwo")
    assert found.text == "'1.0'", installed
    assert [request.split()[1] for request in index.seen] == [
        "/simple/cbone/",
        "/simple/cbone/cbone-1.0-py3-none-any.whl",
    ]
    assert installed.usage.requests == 2
    assert installed.denials == ()
    assert [one.allow_with for one in refused.denials] == [f'network = ["other.example:{port}"]']
    assert isinstance(refused, Raised)
    assert "is in no rule of the policy's network" in refused.error.message


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_loopback_port_without_its_mark_is_refused_with_what_is_missing(server, name):
    port = server.server_address[1]
    with Sandbox(Policy(network=[f"{name}:{port}"]), pool_size=0) as box:
        outcome = box.run(FETCH + f"fetch('http://{name}:{port}/')")
        plain = box.run(
            "import socket\n"
            f"with socket.create_connection(('127.0.0.1', {port})) as there:\n"
            "    there.sendall(b'\\0' * 8); there.recv(100)"
        )
    assert "403" in outcome.text
    for found in (outcome, plain):
        [denial] = found.denials
        assert (denial.layer, denial.rule, denial.is_guests_word) == (
            "network",
            f"{name}:{port}",
            False,
        )
        assert denial.allow_with == f'network = ["{name}:{port}!"]'
    with Sandbox(Policy(**tomllib.loads(denial.allow_with)), pool_size=0) as box:
        assert box.run(FETCH + f"fetch('http://{name}:{port}/')").text == "(200, '/ None')"
