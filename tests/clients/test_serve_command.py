"""`cellblock serve` as a process: its key, its end by a signal, an engine that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx2
import psutil
import pytest

from runner.events import ReasoningDelta
from runner.models.port import CallDelta, ModelRequest, TurnEnded
from runner.models.replay import exchange_line
from runner.tools.code_interpreter import SPEC
from runner.transcript import Question

CODE = "import time; print('begun', flush=True); time.sleep(600)"
BODY = {"model": "m", "input": "Wait.", "stream": True, "tools": [{"type": "code_interpreter"}]}
STOPS_S = 30


@pytest.fixture
def config(tmp_path):
    """A server whose model calls a snippet that sleeps."""
    asked = ModelRequest(entries=(Question(text="Wait."),), tools=(SPEC,), thinking=True)
    call = CallDelta(0, json.dumps({"code": CODE}), id="a", name="code_interpreter")
    answer = [ReasoningDelta("hm"), call, TurnEnded("calls")]
    lines = [exchange_line(asked, answer)]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    path = tmp_path / "config.toml"
    path.write_text(
        f'[server]\ngrace_s = 0.5\ndata_dir = "{tmp_path}/data"\nwarm_sessions = 1\n'
        f'[models.m]\nkind = "replay"\npath = "{tmp_path}/talk.jsonl"\n'
    )
    return path


@contextmanager
def served(config):
    """(process, origin, key) of a server that answers."""
    environ = {name: value for name, value in os.environ.items() if "CELLBLOCK" not in name}
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve", "--config", str(config), "--port", "0"],
        stderr=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip
    try:
        said = ""
        while not (found := re.search(r"Listening on (http://127\.0\.0\.1:\d+)", said)):
            line = process.stderr.readline()
            assert line, f"the server did not start: {said}"
            said += line
        key = re.search(r"API key, .*: (sk-\S+)", said)[1]
        with httpx2.Client(base_url=found[1]) as http:
            while http.get("/readyz").status_code != 200:
                assert process.poll() is None
        yield process, found[1], key
    finally:
        process.kill()
        process.communicate()


@contextmanager
def running_snippet(origin, key):
    """The lines of a response whose snippet has begun."""
    with httpx2.stream(
        "POST", f"{origin}/v1/responses", json=BODY, timeout=60,
        headers={"authorization": f"Bearer {key}"},
    ) as reply:  # fmt: skip
        lines = reply.iter_lines()
        assert any("call.interpreting" in line for line in lines)
        yield lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_within_the_bound_and_leaves_no_process(config, number):
    with served(config) as (process, origin, key), running_snippet(origin, key) as lines:
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        process.send_signal(number)
        rest = list(lines)
        process.wait(STOPS_S)
        assert "event: response.failed" in rest
        assert "The server is stopping." in "".join(rest)
        _gone, alive = psutil.wait_procs(below, timeout=10)
        assert alive == []


def test_an_engine_that_is_killed_during_a_snippet_ends_the_call_and_is_started_again(config):
    with served(config) as (process, origin, key), running_snippet(origin, key) as lines:
        (launcher, *_rest) = psutil.Process(process.pid).children()
        os.kill(launcher.pid, signal.SIGKILL)
        last = [line for line in lines if line.startswith("data: ")][-1]
        response = json.loads(last.removeprefix("data: "))["response"]
        (call,) = [one for one in response["output"] if one["type"] == "code_interpreter_call"]
        assert call["status"] == "failed"
        with httpx2.Client(base_url=origin, headers={"authorization": f"Bearer {key}"}) as http:
            session = http.post("/v1/sessions", timeout=60).json()["id"]
            ran = http.post(f"/v1/sessions/{session}/run", json={"code": "6 * 7"}, timeout=60)
            assert ran.json()["text"] == "42"


def test_the_key_that_was_made_is_needed_and_a_second_server_takes_another_port(config):
    with served(config) as (_process, origin, key):
        assert httpx2.get(f"{origin}/v1/models").status_code == 401
        models = httpx2.get(f"{origin}/v1/models", headers={"authorization": f"Bearer {key}"})
        assert [one["id"] for one in models.json()["data"]] == ["m"]
        port = origin.rpartition(":")[2]
        again = subprocess.run(
            [sys.executable, "-m", "runner", "serve", "--config", str(config), "--port", port],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert again.returncode == 2
        assert f"cannot listen on 127.0.0.1 port {port}" in again.stderr
