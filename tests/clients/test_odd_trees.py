"""Trees that no program makes by chance, listed and fetched by each door that has files.

Whatever is there, a door answers with what it can tell and with refusals of its own; it never
fails, and what a listing needs of the event loop others hardly notice.
"""

import json
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest
from e2b_wire import Wire
from serving import KEY, Running, TalkModel, Turns, config, directory, serving

from runner.config import KeySettings

BUSY_S = 0.25
"""Of the loop's processor time in one turn, on a loaded machine; it takes a tenth of it."""
TREE = r"""
import os, socket
os.chdir("/mnt/data")
for name in (b"\xff\xfe.txt", b"new\nline", b"\x1b[31mred", b"\xed\xb3\xbf", b"..x", b"-rf", b" "):
    open(name, "w").close()
os.mkdir("closed"); open("closed/in", "w").close(); os.chmod("closed", 0)
open("closed.txt", "w").close(); os.chmod("closed.txt", 0)
os.mkfifo("fifo")
try: socket.socket(socket.AF_UNIX).bind("socket")
except OSError: open("socket", "w").close()
os.symlink("loop-b", "loop-a"); os.symlink("loop-a", "loop-b"); os.symlink(".", "self")
os.symlink("/etc/passwd", "outside"); os.symlink(b"\xff", "nowhere")
open("one", "w").write("1"); os.link("one", "two")
with open("sparse", "wb") as stream:
    for bits in (40, 27):
        try: stream.truncate(1 << bits)
        except OSError: continue
        break
for name, seconds in (("first", -2**62), ("last", 2**62)):
    open(name, "w").close()
    os.utime(name, (seconds, seconds))
os.mkdir("many")
for number in range(5000): open(f"many/{number:04}", "w").close()
place = os.open(".", os.O_RDONLY)
for level in range(3000):
    os.mkdir("deep", dir_fd=place)
    below = os.open("deep", os.O_RDONLY, dir_fd=place)
    os.close(place)
    place = below
os.close(place)
print("made")
"""
PATHS = (
    *("closed", "closed/in", "closed.txt", "fifo", "socket", "loop-a", "self", "outside"),
    *("nowhere", "one", "first", "last", "many", "deep", "deep/" * 400, "..", "../..", "..x"),
    *("/etc/passwd", "/proc/self/environ", "new\nline", "\udcff\udcfe.txt", "x" * 5000, "", "\0"),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    keys = (KeySettings(key=KEY, requests_per_minute=100_000, sessions=8),)
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: Running) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY}
    with httpx2.Client(base_url=server.origin, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture
def turns(server: Running) -> Iterator[Turns]:
    """Fails the test if the loop was held for long."""
    made = Turns(server)
    yield made
    assert made.end() < BUSY_S


def sent(http: httpx2.Client, path: str, body: object) -> httpx2.Response:
    # Escapes, as a client may send them: half a pair of surrogates has no UTF-8.
    headers = {"content-type": "application/json"}
    return http.post(path, content=json.dumps(body).encode(), headers=headers)


def test_sessions(http: httpx2.Client, turns: Turns) -> None:
    session = http.post("/v1/sessions", json={}).json()["id"]
    base = f"/v1/sessions/{session}"
    assert http.post(f"{base}/run", json={"code": TREE}).json()["stdout"] == "made\n"
    listed = http.get(f"{base}/files").json()["data"]
    assert {"..x", "-rf", " ", "new\nline", r"\udcff\udcfe.txt"} <= {one["path"] for one in listed}
    odd = next(one for one in listed if one["path"] == r"\udcff\udcfe.txt")
    assert http.get(odd["url"]).status_code == 200
    assert len(http.get(f"{base}/files", params={"path": "many"}).json()["data"]) == 5000
    for path in PATHS:
        for call in ("list", "stat"):
            assert sent(http, f"{base}/files/{call}", {"path": path}).status_code < 500, path
        name = quote(path.encode("utf-8", "surrogateescape"), safe="/")
        assert http.get(f"{base}/files/{name}").status_code < 500, path
    assert http.delete(f"{base}/files/deep", params={"recursive": True}).status_code == 200
    assert http.delete(base).status_code == 200


def test_e2b(server: Running, turns: Turns) -> None:
    with Wire(server.origin) as wire:
        box = wire.create()
        box.execute(TREE)
        headers = {"content-type": "application/json"}
        for depth in (1, 3000):
            asked = {"path": "/mnt/data", "depth": depth}
            found = box.rpc("filesystem.Filesystem/ListDir", asked).json()["entries"]
            at = {one["name"]: one for one in found}
            assert at["first"]["modifiedTime"].startswith("0001-01-01T")
            assert at["last"]["modifiedTime"].startswith("9999-12-31T")
            assert r"\udcff\udcfe.txt" in at
        watched = {"path": "/mnt/data", "recursive": True, "includeEntry": True}
        watcher = box.rpc("filesystem.Filesystem/CreateWatcher", watched).json()
        box.execute("import os\nfor n in range(1500): os.chmod(f'many/{n:04}', 0o600)")
        told = box.rpc("filesystem.Filesystem/GetWatcherEvents", watcher).json()["events"]
        assert told
        for path in PATHS:
            place = json.dumps({"path": f"/mnt/data/{path}"}).encode()
            for call in ("Stat", "ListDir", "CreateWatcher"):
                service = f"/filesystem.Filesystem/{call}"
                assert box.call("POST", service, content=place, headers=headers).status_code < 500
            name = path.encode("utf-8", "surrogateescape")
            assert box.call("GET", f"/files?path={quote(name)}").status_code < 500
        assert wire.api("GET", f"/sandboxes/{box.id}/metrics").status_code == 200
        assert box.kill() == 204


def test_librechat(http: httpx2.Client, turns: Turns) -> None:
    done = http.post("/librechat/exec", json={"lang": "py", "code": TREE})
    assert (done.status_code, done.json()["stdout"]) == (200, "made\n")
    told = {one["name"]: one for one in done.json()["files"]}
    assert {"..x", "-rf"} <= set(told)
    assert done.json()["artifact_delivery"]["failed"] > 0
    place = told["..x"]["storage_session_id"]
    assert http.get(f"/librechat/files/{place}").status_code == 200
    for file in told.values():
        assert http.get(f"/librechat/download/{place}/{file['id']}").status_code == 200
    shell = "mkdir closed; > $(printf '\\377'); chmod 0 closed; echo made"
    done = http.post("/librechat/exec", json={"lang": "bash", "code": shell})
    assert done.json()["stdout"] == "made\n"
    assert [one["name"] for one in done.json()["files"]] == [r"\udcff"]


def test_run_code_and_run_jupyter(http: httpx2.Client, turns: Turns) -> None:
    paths = [path for path in PATHS if path.isprintable()]
    for door, body in (("/run_code", {"code": TREE}), ("/run_jupyter", {"cells": [TREE]})):
        done = http.post(door, json=body | {"language": "python", "fetch_files": paths})
        assert done.status_code == 200, done.text[:300]
        answer = done.json()
        assert answer["status"] == "Success", answer["message"]
        assert {"..x", "one"} <= set(answer["files"]), door


def test_fetching_large_files_makes_no_long_turn(http: httpx2.Client, turns: Turns) -> None:
    code = "open('large', 'wb').write(bytes(range(256)) * (60 << 12))"
    done = http.post(
        "/run_code", json={"code": code, "language": "python", "fetch_files": ["large"]}
    )
    assert len(done.json()["files"]["large"]) == (60 << 20) // 3 * 4
