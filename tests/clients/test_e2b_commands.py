"""E2B's commands on the wire, and snapshots with all that is in a sandbox."""

import base64
import threading
import time

import pytest
from e2b_wire import Box, Wire, framed, output
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    key = KeySettings(key=KEY, sessions=8, requests_per_minute=100_000)
    with serving(
        directory(TalkModel({})), config(keys=(key,), policy={"limits": {"wall_s": 5}})
    ) as running:
        yield running


@pytest.fixture(scope="module")
def box(server):
    with Wire(server.origin) as wire:
        made = wire.create(envVars={"FOO": "sandbox"})
        yield made
        made.kill()


def test_a_command_tells_its_pid_its_output_and_its_end(box):
    events = box.run("echo out; echo err >&2; exit 3")
    assert events[0]["event"]["start"]["pid"] > 0
    assert output(events) == {"stdout": b"out\n", "stderr": b"err\n"}
    end = events[-2]["event"]["end"]
    assert (end["exitCode"], end["exited"], end["error"]) == (3, True, "exit status 3")
    assert events[-1] == {}


def test_a_command_has_its_place_and_its_variables(box):
    assert output(box.run("pwd; echo $FOO"))["stdout"] == b"/home/user\nsandbox\n"
    own = box.run("pwd; echo $FOO", cwd="/tmp", envs={"FOO": "own"})
    assert output(own)["stdout"] == b"/tmp\nown\n"
    assert output(box.run("printf 'a\\xe2'"))["stdout"] == b"a\xe2"


def test_a_command_that_cannot_be_started_says_why(box):
    for process in (
        {"cmd": "/no/such/program", "args": []},
        {"cmd": "/bin/sh", "args": ["-c", "pwd"], "cwd": "/no/such/directory"},
    ):
        events = box.stream("process.Process/Start", {"process": process})
        assert events[-2]["event"]["end"]["exitCode"] in (125, 126, 127)
        assert b"/no/such" in output(events)["stderr"]
    terminal = {"process": {"cmd": "/bin/sh"}, "pty": {"size": {"cols": 80, "rows": 24}}}
    [refused] = box.stream("process.Process/Start", terminal)
    assert refused["error"]["code"] == "unimplemented"
    assert "no pseudo-terminals" in refused["error"]["message"]


class Background:
    """A command whose stream is read in a thread."""

    def __init__(self, box: Box, command: str, *, stdin: bool = False) -> None:
        self.events: list[dict] = []
        self._box, self._command, self._stdin = box, command, stdin
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.events = self._box.run(self._command, stdin=self._stdin)

    def pid(self) -> int:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            listed = self._box.rpc("process.Process/List", {}).json()["processes"]
            for one in listed:
                if one["config"]["args"][-1] == self._command:
                    return one["pid"]
            time.sleep(0.05)
        raise AssertionError("it is not listed")

    def done(self) -> list[dict]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.events


def test_a_command_is_listed_fed_and_reads_the_end_of_its_input(box):
    running = Background(box, "cat", stdin=True)
    process = {"process": {"pid": running.pid()}}
    text = base64.b64encode(b"one ").decode()
    assert box.rpc("process.Process/SendInput", {**process, "input": {"stdin": text}}).json() == {}
    start = {"start": process}
    data = [{"data": {"input": {"stdin": base64.b64encode(one).decode()}}} for one in (b"2", b"3")]
    assert box.stream("process.Process/StreamInput", start, *data) == [{}, {}]
    assert box.rpc("process.Process/CloseStdin", process).json() == {}
    events = running.done()
    assert output(events)["stdout"] == b"one 23"
    assert events[-2]["event"]["end"]["exitCode"] == 0
    assert box.rpc("process.Process/List", {}).json() == {"processes": []}
    gone = box.rpc("process.Process/SendInput", {**process, "input": {"stdin": text}})
    assert gone.json()["code"] == "not_found"


def test_a_command_goes_on_without_its_client_is_joined_and_killed(box):
    process = {"cmd": "/bin/sh", "args": ["-c", "while :; do echo x; sleep 0.1; done"]}
    headers = {**box.headers, "content-type": "application/connect+json"}
    with box.wire.http.stream(
        "POST", "/process.Process/Start", content=framed({"process": process}), headers=headers
    ) as answer:
        next(answer.iter_bytes())
    [one] = box.rpc("process.Process/List", {}).json()["processes"]
    selector = {"process": {"pid": one["pid"]}}
    joined = box.stream("process.Process/Connect", selector, **{"connect-timeout-ms": "500"})
    assert joined[0]["event"]["start"]["pid"] == one["pid"]
    assert b"x" in output(joined)["stdout"]
    assert joined[-1]["error"]["code"] == "deadline_exceeded"
    kill = {**selector, "signal": "SIGNAL_SIGKILL"}
    assert box.rpc("process.Process/SendSignal", kill).json() == {}
    assert box.rpc("process.Process/List", {}).json() == {"processes": []}
    assert box.rpc("process.Process/SendSignal", kill).json()["code"] == "not_found"


def test_a_command_ends_at_its_own_time_and_at_the_policys(box):
    asked = {"process": {"cmd": "/bin/sleep", "args": ["60"]}}
    began = time.monotonic()
    late = box.stream("process.Process/Start", asked, **{"connect-timeout-ms": "300"})
    assert late[-1]["error"]["code"] == "deadline_exceeded"
    assert time.monotonic() - began < 4
    end = box.stream("process.Process/Start", asked)[-2]["event"]["end"]
    assert (end["exitCode"], "wall_s" in end["error"]) == (-1, True)


def test_a_sandbox_that_is_killed_tells_its_streams(server):
    with Wire(server.origin) as wire:
        box = wire.create()
        running = Background(box, "sleep 4; exit 9")
        running.pid()
        box.kill()
        assert running.done()[-1]["error"]["code"] == "unavailable"


def test_a_snapshot_is_where_new_sandboxes_begin(server):
    with Wire(server.origin) as wire:
        box = wire.create()
        box.execute("x = [1]; open('/home/user/f', 'w').write('f')")
        took = wire.api("POST", f"/sandboxes/{box.id}/snapshots", {"name": "mine"}).json()
        assert took["names"] == ["mine"]
        box.execute("x.append(2)")
        of_it = wire.api("GET", "/snapshots", params={"sandboxID": box.id}).json()
        assert [one["snapshotID"] for one in of_it] == [took["snapshotID"]]
        made = wire.create(templateID=took["snapshotID"], envVars={"A": "1"})
        look = "import os; x, open('/home/user/f').read(), os.environ.get('A')"
        assert made.value(look) == "([1], 'f', '1')"
        for status in (204, 404):
            gone = wire.api("DELETE", f"/templates/{took['snapshotID']}")
            assert gone.status_code == status
        assert made.value("x") == "[1]"
        [sample] = wire.api("GET", f"/sandboxes/{box.id}/metrics").json()
        assert sample["memUsed"] > 0
        assert sample["diskUsed"] > 0
        past = wire.api("GET", f"/sandboxes/{box.id}/metrics", params={"end": 1000})
        assert past.json() == []
        for one in (made, box):
            one.kill()
