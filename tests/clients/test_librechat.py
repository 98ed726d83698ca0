"""LibreChat's Code API of the server: exchanges as its client's package has them."""

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

OTHER = "sk-other-key"
HASTY = "sk-hasty-key"


@pytest.fixture(scope="module")
def server():
    keys = (
        KeySettings(key=KEY, requests_per_minute=100_000, concurrent_requests=50),
        KeySettings(key=OTHER, tenant="other", requests_per_minute=100_000),
        KeySettings(key=HASTY, tenant="hasty", requests_per_minute=1),
    )
    with serving(directory(TalkModel({})), config(keys=keys)) as running:
        yield running


@pytest.fixture(scope="module")
def http(server):
    where, headers = f"{server.origin}/librechat", {"x-api-key": KEY}
    with httpx2.Client(base_url=where, headers=headers, timeout=60) as client:
        yield client


def run(http, code, *, lang="py", **more):
    reply = http.post("/exec", json={"lang": lang, "code": code} | more)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_program_runs_and_its_files_go_on_to_the_next(http):
    first = run(http, "open('a.csv', 'w').write('1,2')\nprint('done')")
    assert (first["stdout"], first["stderr"]) == ("done\n", "")
    (file,) = first["files"]
    assert file["name"] == "a.csv"
    second = run(
        http, "print(open('/mnt/data/a.csv').read()); open('b.txt', 'w').write('b')",
        files=[file | {"kind": "user", "resource_id": "u"}], user_id="u", session_id="s",
    )  # fmt: skip
    assert second["stdout"] == "1,2\n"
    assert second["session_id"] != first["session_id"]
    by_name = {one["name"]: one for one in second["files"]}
    assert by_name["a.csv"] == file | {"inherited": True}
    third = run(http, "import os; open('a.csv', 'a').write('3'); os.remove('b.txt')",
                files=[file, by_name["b.txt"]])  # fmt: skip
    assert third["deleted_files"] == ["b.txt"]
    (changed,) = third["files"]
    assert changed["id"] != file["id"]
    path = f"/download/{changed['storage_session_id']}/{changed['id']}"
    assert http.get(path).content == b"1,23"
    path = f"/download/{file['storage_session_id']}/{file['id']}"
    assert http.get(path).content == b"1,2"


def test_how_a_program_ends_is_said_on_stderr(http):
    assert "ZeroDivisionError" in run(http, "1 / 0")["stderr"]
    assert run(http, "import sys; sys.exit(3)")["stderr"] == "Exited with code 3\n"
    assert "Killed" in run(http, "import os; os.kill(os.getpid(), 9)")["stderr"]
    assert "only py and bash" in run(http, "1", lang="js")["stderr"]


def test_arguments_and_shell_scripts(http):
    assert run(http, "import sys; print(sys.argv[1:])", args=["a", "b c"])["stdout"] == (
        "['a', 'b c']\n"
    )
    told = run(http, "echo $1 $0 >&2; echo out > o.txt; exit 2", lang="bash", args=["x"])
    assert told["stderr"].startswith("x ")
    assert [one["name"] for one in told["files"]] == ["o.txt"]


def test_a_program_calls_tools_of_its_client(http):
    code = (
        "import asyncio\nopen('o', 'w').write('o')\n"
        "a, b = await asyncio.gather(get_x(q=1), get_x(q='\u00e9'))\nprint(a['v'] + b)\n"
        "try:\n    await class_tool()\nexcept Exception as error:\n    print(error)"
    )
    tools = [{"name": "get-x", "description": "", "parameters": {}}, {"name": "class"}]
    first = http.post("/exec/programmatic", json={"code": code, "tools": tools}).json()
    assert first["status"] == "tool_call_required"
    asked = {one["input"]["q"]: one for one in first["tool_calls"]}
    assert [asked[key]["name"] for key in (1, "\u00e9")] == ["get-x"] * 2
    results = [
        {"call_id": asked[1]["id"], "result": {"v": 40}, "is_error": False},
        {"call_id": asked["\u00e9"]["id"], "result": 2, "is_error": False},
    ]
    more = {"continuation_token": first["continuation_token"], "tool_results": results}
    second = http.post("/exec/programmatic", json=more).json()
    (call,) = second["tool_calls"]
    assert (call["name"], call["input"]) == ("class", {})
    failed = {"call_id": call["id"], "result": None, "is_error": True, "error_message": "why"}
    more = {"continuation_token": second["continuation_token"], "tool_results": [failed]}
    last = http.post("/exec/programmatic", json=more).json()
    assert (last["status"], last["stdout"]) == ("completed", "42\nwhy\n")
    assert [one["name"] for one in last["files"]] == ["o"]
    assert http.post("/exec/programmatic", json=more).status_code == 404


def test_a_program_that_waits_is_of_its_key_and_ends_with_its_client(server, http):
    body = {"code": "await wait()", "tools": [{"name": "wait"}]}
    told = http.post("/exec/programmatic", json=body).json()
    assert server.services.slots.held["run"] == 1
    more = {"continuation_token": told["continuation_token"], "tool_results": []}
    headers = {"authorization": f"Bearer {OTHER}"}
    address = f"{server.origin}/librechat/exec/programmatic"
    assert httpx2.post(address, json=more, headers=headers).status_code == 404
    # No result comes: the client gives up, and with it goes the program.
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/exec/programmatic", json=more, timeout=0.5)
    server.wait_until(lambda: server.services.slots.held["run"] == 0)
    assert http.post("/exec/programmatic", json=more).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"code": "1", "tools": [{"name": "\u00e9"}]},
        {"code": "1", "tools": [{}]},
        {"code": "1", "timeout": 0},
        {"tool_results": [{"result": 1}]},
        {},
    ],
)
def test_a_program_that_is_none_is_refused(http, body):
    assert http.post("/exec/programmatic", json=body).status_code == 400


def test_files_are_uploaded_alone_and_together(http):
    one = http.post("/upload", data={"kind": "user", "id": "u"}, files={"file": ("é.txt", b"1")})
    told = one.json()
    assert (told["message"], told["files"][0]["filename"]) == ("success", "é.txt")
    sent = [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]
    both = http.post("/upload/batch", data={"kind": "agent", "id": "x"}, files=sent).json()
    assert [one["filename"] for one in both["files"]] == ["a.txt", "b.txt"]
    listed = http.get(f"/files/{both['storage_session_id']}?detail=full").json()
    assert [(one["name"], one["size"]) for one in listed] == [("a.txt", 1), ("b.txt", 1)]
    assert [one["id"] for one in listed] == [one["fileId"] for one in both["files"]]
    assert run(http, "print(open('b.txt').read())", files=[listed[1]])["stdout"] == "b\n"


@pytest.mark.parametrize(
    "body", [b"", b"no form", b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\nno']
)
def test_a_batch_that_is_none_is_refused(http, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert http.post("/upload/batch", content=body, headers=headers).status_code == 400


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", ""])
def test_a_file_lies_in_the_workspace_or_nowhere(http, name):
    (file,) = run(http, "open('a', 'w').write('')")["files"]
    reply = http.post("/exec", json={"lang": "py", "code": "1", "files": [file | {"name": name}]})
    assert reply.status_code in (400, 403)


def test_files_and_runs_are_of_one_key(server, http):
    (file,) = run(http, "open('a', 'w').write('')")["files"]
    headers = {"authorization": f"Bearer {OTHER}"}
    with httpx2.Client(base_url=f"{server.origin}/librechat", headers=headers) as other:
        path = f"/download/{file['storage_session_id']}/{file['id']}"
        assert other.get(path).status_code == 404
        body = {"lang": "py", "code": "1", "files": [file]}
        assert other.post("/exec", json=body).status_code == 404
        other.headers["authorization"] = f"Bearer {HASTY}"
        other.get(path)
        refused = other.post("/exec", json=body)
    assert refused.status_code == 429
    assert refused.json()["error"] == "rate_limited"
    assert refused.json()["retry_after_seconds"] >= 1
    without = httpx2.post(f"{server.origin}/librechat/exec", json={"lang": "py", "code": "1"})
    assert without.status_code == 401
    assert http.post("/exec", json={"lang": "py"}).status_code == 400
    assert server.services.slots.of("default") == 0
