"""E2B's files on the wire: over HTTP, over Connect, and by signed URLs."""

import base64
import gzip
import hashlib
import time

import httpx2
import pytest
from e2b_wire import Wire, output, unframed
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

STAT, LIST = "filesystem.Filesystem/Stat", "filesystem.Filesystem/ListDir"
OCTETS = {"content-type": "application/octet-stream"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    key = KeySettings(key=KEY, sessions=8, requests_per_minute=100_000)
    limits = {"wall_s": 5, "workspace_bytes": 8 * 1024 * 1024}
    with serving(
        directory(TalkModel({})), config(keys=(key,), policy={"limits": limits})
    ) as running:
        yield running


@pytest.fixture(scope="module")
def box(server):
    with Wire(server.origin) as wire:
        made = wire.create()
        yield made
        made.kill()


def put(box, path: str, data: bytes, **headers: str) -> httpx2.Response:
    headers = {**OCTETS, **headers}
    return box.call("POST", "/files", params={"path": path}, content=data, headers=headers)


def get(box, path: str) -> httpx2.Response:
    return box.call("GET", "/files", params={"path": path})


def test_a_file_goes_in_and_out_below_the_home_directory(box):
    data = bytes(range(256)) * 10_000
    written = put(box, "a/b.bin", data)
    assert written.json() == [{"name": "b.bin", "type": "file", "path": "/home/user/a/b.bin"}]
    assert get(box, "/home/user/a/b.bin").content == data
    assert get(box, "~/a/../a/b.bin").content == data
    assert box.value("len(open('/home/user/a/b.bin', 'rb').read())") == "2560000"


def test_a_form_writes_many_files_and_a_compressed_body_is_unpacked(box):
    files = [("file", (f"form/{n}.txt", f"{n}" * n)) for n in range(20)]
    written = box.call("POST", "/files", files=files).json()
    assert [one["path"] for one in written] == [f"/home/user/form/{n}.txt" for n in range(20)]
    assert [get(box, f"form/{n}.txt").text for n in (0, 1, 19)] == ["", "1", "19" * 19]
    packed = gzip.compress(b"packed" * 1000)
    put(box, "packed.txt", packed, **{"content-encoding": "gzip"})
    assert get(box, "packed.txt").content == b"packed" * 1000


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(b"a" * 1000, mtime=0)[:-9], {"content-encoding": "gzip"}),
        (b"no gzip", {"content-encoding": "gzip"}),
        (b"", {"content-encoding": "br"}),
        (b"--b\r\n", {"content-type": "multipart/form-data; boundary=b"}),
        (b"", {"content-type": "multipart/form-data"}),
    ],
    ids=["torn gzip", "no gzip", "unknown coding", "torn form", "no boundary"],
)
def test_a_body_that_is_not_whole_or_no_form_writes_nothing(box, body, headers):
    refused = put(box, "broken.txt", body, **headers)
    assert (refused.status_code, refused.json()["code"]) == (400, 400)
    assert get(box, "broken.txt").status_code == 404


def test_what_is_unpacked_is_bounded_by_the_disk(box):
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    refused = put(box, "bomb", bomb, **{"content-encoding": "gzip"})
    assert refused.status_code == 507
    assert get(box, "bomb").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/etc/passwd", 403),
        ("../../etc/passwd", 403),
        ("/proc/self/environ", 403),
        ("none.txt", 404),
        ("", 400),
        ("a\0b", 400),
        ("a" * 5000, 400),
    ],
)
def test_no_path_leads_out_of_the_session(box, path, status):
    assert get(box, path).status_code == status
    if status != 404:
        assert put(box, path, b"x").status_code == status


def test_no_link_is_followed_out_of_the_session(box):
    box.execute("import os; os.symlink('/etc/passwd', '/home/user/leak')")
    assert get(box, "leak").status_code in (400, 403, 404)
    entry = box.rpc(STAT, {"path": "leak"}).json()["entry"]
    assert entry["symlinkTarget"] == "/etc/passwd"
    assert entry["type"] == "FILE_TYPE_SYMLINK"


@pytest.mark.parametrize("user", ["root", "other"])
def test_there_is_one_user(box, user):
    basic = "Basic " + base64.b64encode(f"{user}:".encode()).decode()
    refused = box.rpc(STAT, {"path": "/home/user"}, authorization=basic)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_argument")
    assert f"no user {user!r}" in refused.json()["message"]
    by_query = box.call("GET", "/files", params={"path": "a", "username": user})
    assert by_query.status_code == 400


def test_entries_are_told_with_what_e2b_tells_of_them(box):
    put(box, "tree/one.txt", b"12345", **{"x-metadata-author": "m"})
    box.rpc("filesystem.Filesystem/MakeDir", {"path": "tree/sub/deep"})
    found = box.rpc(LIST, {"path": "tree", "depth": 2}).json()["entries"]
    names = ["one.txt", "sub", "sub/deep"]
    assert [one["path"] for one in found] == [f"/home/user/tree/{name}" for name in names]
    one = found[0]
    assert (one["size"], one["mode"], one["permissions"]) == ("5", 0o644, "-rw-r--r--")
    assert (one["owner"], one["metadata"]) == ("user", {"author": "m"})
    assert found[1]["type"] == "FILE_TYPE_DIRECTORY"
    moved = box.rpc(
        "filesystem.Filesystem/Move", {"source": "tree", "destination": "new/tree"}
    ).json()
    assert moved["entry"]["path"] == "/home/user/new/tree"
    there = box.rpc(STAT, {"path": "new/tree/one.txt"}).json()["entry"]
    assert there["metadata"] == {"author": "m"}
    assert box.rpc("filesystem.Filesystem/Remove", {"path": "new"}).json() == {}
    assert box.rpc(STAT, {"path": "new"}).json()["code"] == "not_found"
    twice = [box.rpc("filesystem.Filesystem/MakeDir", {"path": "d"}) for _ in range(2)]
    assert twice[1].json()["code"] == "already_exists"


def test_a_watcher_tells_what_is_made_written_and_removed(box):
    box.rpc("filesystem.Filesystem/MakeDir", {"path": "watched/sub"})
    asked = {"path": "watched", "recursive": True, "includeEntry": True}
    watcher = box.rpc("filesystem.Filesystem/CreateWatcher", asked).json()
    put(box, "watched/sub/a.txt", b"1")
    events = box.rpc("filesystem.Filesystem/GetWatcherEvents", watcher).json()["events"]
    told = {(one["type"], one["name"]) for one in events}
    assert {("EVENT_TYPE_CREATE", "sub/a.txt"), ("EVENT_TYPE_WRITE", "sub/a.txt")} <= told
    assert events[-1]["entry"]["path"] == "/home/user/watched/sub/a.txt"
    box.execute("import os; os.remove('/home/user/watched/sub/a.txt')")
    events = box.rpc("filesystem.Filesystem/GetWatcherEvents", watcher).json()["events"]
    assert ("EVENT_TYPE_REMOVE", "sub/a.txt") in {(one["type"], one["name"]) for one in events}
    assert box.rpc("filesystem.Filesystem/RemoveWatcher", watcher).json() == {}
    gone = box.rpc("filesystem.Filesystem/GetWatcherEvents", watcher)
    assert gone.json()["code"] == "not_found"


def test_a_directory_is_watched_as_it_changes_until_the_time_is_over(box):
    box.execute(
        "import threading, time, os\nos.makedirs('/home/user/live', exist_ok=True)\n"
        "import subprocess\n"
        "subprocess.Popen(['sh', '-c', 'sleep 0.6; echo x > /home/user/live/new.txt'])"
    )
    told = box.stream(
        "filesystem.Filesystem/WatchDir", {"path": "live"}, **{"connect-timeout-ms": "2000"}
    )
    assert told[0] == {"start": {}}
    assert told[-1]["error"]["code"] == "deadline_exceeded"
    assert "new.txt" in [one["filesystem"]["name"] for one in told[1:-1] if "filesystem" in one]


def signed(box, path: str, use: str, expires: str = "") -> dict[str, str]:
    expires = expires or str(int(time.time()) + 60)
    facts = f"{path}:{use}::{box.made['envdAccessToken']}:{expires}"
    digest = base64.b64encode(hashlib.sha256(facts.encode()).digest()).decode().rstrip("=")
    return {"path": path, "signature": f"v1_{digest}", "signature_expiration": expires}


def test_a_signed_url_is_good_for_its_file_its_use_and_its_time(server, box):
    put(box, "signed.txt", b"signed")
    place = f"{server.origin}/files"
    assert httpx2.get(place, params=signed(box, "signed.txt", "read")).content == b"signed"
    for params in (
        signed(box, "signed.txt", "write"),
        {**signed(box, "signed.txt", "read"), "path": "other.txt"},
        {**signed(box, "signed.txt", "read"), "username": "user"},
        signed(box, "signed.txt", "read", "1"),
        {"path": "signed.txt"},
    ):
        assert httpx2.get(place, params=params).status_code == 401
    files = {"file": ("any", b"new")}
    written = httpx2.post(place, params=signed(box, "up.txt", "write"), files=files)
    assert written.json()[0]["path"] == "/home/user/up.txt"
    assert get(box, "up.txt").content == b"new"


def test_messages_of_a_stream_are_bounded_before_they_are_parsed(box):
    for data, code in (
        (b"\0" + (2**31).to_bytes(4, "big"), "resource_exhausted"),
        (b"\1\0\0\0\0", "unimplemented"),
        (b"\0\0\0\0\2{", "invalid_argument"),
        (b"\0\0\0\0\2[]", "invalid_argument"),
        (b"", "invalid_argument"),
    ):
        headers = {"content-type": "application/connect+json"}
        answer = box.call("POST", "/process.Process/Start", content=data, headers=headers)
        assert unframed(answer.content)[-1]["error"]["code"] == code


def test_without_namespaces_the_home_directory_is_at_another_place():
    key = KeySettings(key=KEY, sessions=4)
    settings = config(keys=(key,), policy={"tier": "landlock"})
    with serving(directory(TalkModel({})), settings) as running, Wire(running.origin) as wire:
        box = wire.create(envVars={"A": "1"})
        put(box, "a.txt", b"a")
        assert box.value("import os; open('a.txt').read(), os.environ['A']") == "('a', '1')"
        moved = {"source": "a.txt", "destination": "sub/b.txt"}
        entry = box.rpc("filesystem.Filesystem/Move", moved).json()["entry"]
        assert entry["path"] == "/home/user/sub/b.txt"
        box.execute("os.symlink('sub/b.txt', 'link')")
        entry = box.rpc(STAT, {"path": "link"}).json()["entry"]
        assert (entry["symlinkTarget"], entry["type"]) == ("/home/user/sub/b.txt", "FILE_TYPE_FILE")
        assert output(box.run("cat sub/b.txt"))["stdout"] == b"a"
        context = box.call("POST", "/contexts", {"cwd": "/home/user/sub"}).json()["id"]
        assert box.value("open('b.txt').read()", context_id=context) == "a"
