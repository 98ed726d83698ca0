"""The dashboard file: read by Grafana's own types, and each of its questions put to Prometheus.

Prometheus is Debian's, on loopback; it scrapes a server that has been used. Grafana itself is not
started.
"""

import contextlib
import json
import math
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx2
import pytest
from scripted import CALLED, STOPPED, call, say, spent
from serving import KEY, MODEL, TalkModel, config, directory, serving

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
QUESTION = "What is 6 times 7?"
TALKS = {
    QUESTION: [
        [*call("import ctypes"), spent(10, 5, 0), CALLED],
        [*say("No."), spent(12, 6, 0), STOPPED],
    ]
}
WINDOW_S = 30
READY_S = 30
pytestmark = pytest.mark.slow


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def test_grafanas_own_types_know_every_part_of_the_dashboard():
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    raw = json.loads(DASHBOARD.read_text())
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(raw)))
    assert list(lost(raw, read)) == []
    raw["panels"][0]["titel"] = "misspelt"
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(raw)))
    assert list(lost(raw, read)) == ["/panels/0/titel"]


def lost(given, read, place=""):
    """Places in `given` that are not, or are otherwise, in what was read of it."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            yield from lost(value, read.get(name), f"{place}/{name}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from lost(one, other, f"{place}/{number}")
    elif given != read:
        yield place


def test_no_two_panels_cover_each_other_or_have_one_number():
    places = [one["gridPos"] for one in panels()]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(at["x"] + at["w"] <= 24 for at in places)
    assert len({one["id"] for one in panels()}) == len(panels())


@contextlib.contextmanager
def prometheus(target, folder):
    """The address of a Prometheus that scrapes `target` each second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus: apt-get install prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"- {{job_name: cellblock, static_configs: [{{targets: ['{target}']}}]}}\n"
    )
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={settings}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + READY_S
        while not is_ready(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def is_ready(address):
    try:
        return httpx2.get(f"{address}/-/ready").status_code == 200
    except httpx2.TransportError:
        return False


def use(server):
    """Everything that is counted, once."""
    headers = {"authorization": f"Bearer {KEY}"}
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    with httpx2.Client(base_url=server.origin, headers=headers, timeout=60) as http:
        http.post("/v1/responses", json={"model": MODEL, "input": QUESTION, "tools": tools})
        session = http.post("/v1/sessions").json()["id"]
        http.post(f"/v1/sessions/{session}/run", json={"code": "1 + 1"})
        http.post(f"/v1/sessions/{session}/exec", json={"command": "true"})
        http.post("/run_code", json={"code": "print(1)", "language": "python"})


def answer(address, question):
    """Numbers that Prometheus has for it now."""
    reply = httpx2.get(f"{address}/api/v1/query", params={"query": question}).json()
    assert reply["status"] == "success", (question, reply)
    return [float(one["value"][1]) for one in reply["data"]["result"]]


def test_prometheus_answers_every_question_of_the_dashboard_with_numbers(tmp_path):
    questions = {
        target["expr"].replace("$__rate_interval", f"{WINDOW_S}s"): panel["title"]
        for panel in panels()
        for target in panel["targets"]
    }
    assert len(questions) > 20
    assert not any(re.search(r"\$", one) for one in questions)
    settings = config(policy={"imports": "data"})
    with serving(directory(TalkModel(TALKS)), settings) as server:
        use(server)  # A rate is of what was there before.
        with prometheus(server.origin.removeprefix("http://"), tmp_path) as address:
            until = time.monotonic() + WINDOW_S
            missing = questions
            while missing and time.monotonic() < until:
                use(server)
                missing = {
                    question: panel
                    for question, panel in missing.items()
                    if not any(map(math.isfinite, answer(address, question)))
                }
                time.sleep(0.5)
            assert missing == {}
            assert sum(answer(address, "cellblock_refusals_total")) >= 1
