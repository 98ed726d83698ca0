"""E2B's API and code interpreter on the wire: what its clients send, and what they read."""

import threading
import time
from urllib.parse import urlencode

import httpx2
import pytest
from e2b_wire import Wire
from serving import KEY, TalkModel, config, directory, serving

from runner.config import KeySettings

OTHER = {"x-api-key": "sk-other-key"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    keys = (
        KeySettings(key=KEY, tenant="one", sessions=8, concurrent_requests=16),
        KeySettings(key=OTHER["x-api-key"], tenant="two", sessions=1),
    )
    settings = config(keys=keys, policy={"limits": {"wall_s": 5, "cpu_s": 5}})
    with serving(directory(TalkModel({})), settings) as running:
        yield running


@pytest.fixture
def wire(server):
    with Wire(server.origin) as found:
        yield found


@pytest.fixture
def box(wire):
    made = wire.create()
    yield made
    made.kill()


def test_a_sandbox_is_a_session_of_its_key(server, wire, box):
    told = wire.api("GET", f"/sandboxes/{box.id}").json()
    assert (told["sandboxID"], told["state"]) == (box.id, "running")
    bearer = {"authorization": f"Bearer {KEY}"}
    listed = httpx2.get(f"{server.origin}/v1/sessions", headers=bearer).json()["data"]
    assert box.made["clientID"] in [one["id"] for one in listed]
    assert box.kill() == 204
    assert box.kill() == 404
    assert box.call("GET", "/health").status_code == 502


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-wrong"}])
def test_a_wrong_key_is_told_in_e2bs_form(wire, headers):
    answer = wire.api("GET", "/v2/sandboxes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 401)


def test_another_key_sees_nothing_of_a_sandbox_and_has_its_own_bounds(wire, box):
    assert wire.api("GET", f"/sandboxes/{box.id}", headers=OTHER).status_code == 404
    assert wire.api("DELETE", f"/sandboxes/{box.id}", headers=OTHER).status_code == 404
    assert wire.api("GET", "/v2/sandboxes", headers=OTHER).json() == []
    asked = {"templateID": "base"}
    first = wire.api("POST", "/v2/sandboxes", asked, headers=OTHER)
    second = wire.api("POST", "/v2/sandboxes", asked, headers=OTHER)
    assert (first.status_code, second.status_code) == (201, 429)
    assert second.json()["message"] == "This key may have 1 sessions at once."
    assert second.headers["should-retry"] == "false"
    wire.api("DELETE", f"/sandboxes/{first.json()['sandboxID']}", headers=OTHER)


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9"])
def test_a_sandbox_answers_to_its_own_token_alone(wire, box, token):
    other = wire.create()
    for shown in (token.encode(), other.headers["x-access-token"].encode()):
        answer = box.call("POST", "/execute", {"code": "1"}, headers={"x-access-token": shown})
        assert answer.status_code == 401
    traffic = {"x-access-token": b"", "e2b-traffic-access-token": box.made["trafficAccessToken"]}
    assert box.call("GET", "/contexts", headers=traffic).status_code == 200
    other.kill()


def test_a_snippet_streams_its_output_its_results_and_its_end(box):
    lines = box.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = 41\nx + 1")
    assert lines[0] == {"type": "number_of_executions", "execution_count": 1}
    shown = [(line["type"], line["text"]) for line in lines[1:]]
    assert shown == [("stdout", "out\n"), ("stderr", "err\n"), ("result", "42")]
    assert lines[-1]["is_main_result"] is True
    [count, error] = box.execute("x / 0")
    assert count["execution_count"] == 2
    assert (error["name"], error["value"]) == ("ZeroDivisionError", "division by zero")
    assert "x / 0" in error["traceback"]


def test_displays_come_before_the_value_by_their_types(box):
    code = (
        "class T:\n    def _repr_html_(self): return '<b>t</b>'\n"
        "from IPython.display import display\ndisplay(T())\n'text'"
    )
    [shown, value] = box.execute(code)[1:]
    assert (shown["html"], shown["is_main_result"]) == ("<b>t</b>", False)
    assert (value["text"], value["is_main_result"]) == ("text", True)
    [value] = box.execute("T()")[1:]
    assert (value["html"], value["is_main_result"]) == ("<b>t</b>", True)


def test_variables_of_the_environment_are_set_for_a_sandbox_or_one_snippet(wire):
    box = wire.create(envVars={"A": "'a'\n", "B": "b"})
    look = "import os; [os.environ.get(name) for name in 'ABC']"
    assert box.value(look) == "[\"'a'\\n\", 'b', None]"
    assert box.value(look, env_vars={"B": "2", "C": "3"}) == "[\"'a'\\n\", '2', '3']"
    assert box.value(look) == "[\"'a'\\n\", 'b', None]"
    assert box.value("sorted(n for n in globals() if 'e2b' in n)") == "[]"
    box.kill()


def test_a_context_has_variables_of_its_own_and_the_same_files(box):
    box.execute("x = 1; import os; open('/home/user/f', 'w').write('f')")
    made = box.call("POST", "/contexts", {"cwd": "/mnt/data"}).json()
    assert made["cwd"] == "/mnt/data"
    [_, error] = box.execute("x", context_id=made["id"])
    assert error["value"] == "name 'x' is not defined"
    own = box.value(
        "y = 2; import os; os.getcwd(), open('/home/user/f').read()", context_id=made["id"]
    )
    assert own == "('/mnt/data', 'f')"
    assert box.value("x, 'y' in globals()") == "(1, False)"
    assert box.value("y", context_id=made["id"]) == "2"
    assert len(box.call("GET", "/contexts").json()) == 2
    assert box.call("POST", f"/contexts/{made['id']}/restart").status_code == 200
    assert box.value("'y' in globals()", context_id=made["id"]) == "False"
    assert box.call("DELETE", f"/contexts/{made['id']}").status_code == 200
    assert box.call("DELETE", f"/contexts/{made['id']}").status_code == 404
    assert box.value("x") == "1"


def test_contexts_are_bounded_and_none_of_them_gets_lost(box):
    made = [box.call("POST", "/contexts", {}).json()["id"] for _ in range(5)]
    for round_ in range(2):
        for number, context in enumerate(made):
            box.execute(f"x = {10 * round_ + number}", context_id=context)
    full = box.call("POST", "/contexts", {})
    assert (full.status_code, "6 contexts" in full.text) == (409, True)
    values = [box.value("x", context_id=context) for context in made]
    assert values == ["10", "11", "12", "13", "14"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"code": "1", "language": "javascript"}, "is Python; 'javascript' has no kernel"),
        ({"code": "1", "colour": "red"}, "colour"),
        ({"code": 1}, "code"),
        ({"code": "1", "env_vars": {"A=B": "c"}}, "no name of a variable"),
    ],
)
def test_what_a_snippet_cannot_be_is_refused_by_name(box, body, words):
    answer = box.call("POST", "/execute", body)
    assert answer.status_code == 400
    assert words in answer.text


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("templateID", "my-image", "templates are images"),
        ("mcp", {"server": {}}, "mcp:"),
        ("volumeMounts", [{"name": "a", "path": "/a"}], "no volumes"),
        ("allow_internet_access", True, "policy says (no network)"),
        ("network", {"allowOut": ["a.b"]}, "network.allowOut"),
        ("timeout", -1, "timeout"),
        ("novel", 1, "novel"),
        ("metadata", {str(number): "" for number in range(300)}, "at most 256"),
    ],
)
def test_what_a_sandbox_has_not_is_refused_with_the_reason(wire, field, value, words):
    answer = wire.api("POST", "/v2/sandboxes", {"templateID": "base", field: value})
    assert answer.status_code == 400
    assert words in answer.json()["message"]


def test_a_list_is_filtered_and_comes_in_pages_the_newest_first(wire):
    boxes = [wire.create(metadata={"test": "a b", "number": str(n)}) for n in range(3)]
    query = urlencode({"test": "a%20b"})
    first = wire.api("GET", "/v2/sandboxes", params={"metadata": query, "limit": 2})
    assert [one["sandboxID"] for one in first.json()] == [boxes[2].id, boxes[1].id]
    token = first.headers["x-next-token"]
    more = {"metadata": query, "limit": 2, "nextToken": token}
    second = wire.api("GET", "/v2/sandboxes", params=more)
    assert [one["sandboxID"] for one in second.json()] == [boxes[0].id]
    assert "x-next-token" not in second.headers
    for box in boxes:
        started = wire.api("GET", f"/sandboxes/{box.id}").json()["startedAt"]
        since = wire.api("GET", "/v2/sandboxes", params={"startedAfter": started})
        assert box.id in [one["sandboxID"] for one in since.json()]
    wire.api("POST", f"/sandboxes/{boxes[1].id}/pause", {})
    paused = wire.api("GET", "/v2/sandboxes", params={"metadata": query, "state": "paused"})
    assert [one["sandboxID"] for one in paused.json()] == [boxes[1].id]
    for box in boxes:
        box.kill()


def test_a_pause_keeps_all_and_answers_nothing(wire, box):
    box.execute("x = 5")
    assert wire.api("POST", f"/sandboxes/{box.id}/pause", {}).status_code == 204
    assert wire.api("POST", f"/sandboxes/{box.id}/pause", {}).status_code == 409
    gone = box.call("POST", "/execute", {"code": "1"})
    assert (gone.status_code, "was not found" in gone.text) == (502, True)
    again = wire.api("POST", f"/v2/sandboxes/{box.id}/connect", {"timeout": 60})
    assert (again.status_code, again.json()["sandboxID"]) == (201, box.id)
    assert box.value("x") == "5"
    memoryless = wire.api("POST", f"/sandboxes/{box.id}/pause", {"memory": False})
    assert (memoryless.status_code, "memory" in memoryless.json()["message"]) == (400, True)


def test_a_sandbox_ends_or_pauses_at_its_timeout(server, wire):
    short = wire.create(timeout=1)
    paused = wire.create(timeout=1, autoPause=True, autoResume={"enabled": True})
    paused.execute("x = 6")
    server.wait_until(lambda: short.call("GET", "/health").status_code == 502)
    assert wire.api("GET", f"/sandboxes/{short.id}").status_code == 404
    server.wait_until(lambda: paused.call("GET", "/health").status_code == 502)
    assert wire.api("GET", f"/sandboxes/{paused.id}").json()["state"] == "paused"
    assert paused.value("x") == "6"
    paused.kill()


def test_forks_go_on_by_themselves(wire, box):
    box.execute("x = [1]")
    made = wire.api("POST", f"/sandboxes/{box.id}/fork", {"count": 2})
    assert made.status_code == 201
    forks = [type(box)(wire, one["sandbox"]) for one in made.json()]
    forks[0].execute("x.append(2)")
    assert [one.value("x") for one in (box, *forks)] == ["[1]", "[1, 2]", "[1]"]
    refused = forks[0].call("POST", "/contexts", {})
    assert (refused.status_code, "it is a fork" in refused.text) == (400, True)
    for one in forks:
        assert one.kill() == 204
    assert wire.api("POST", f"/sandboxes/{box.id}/fork", {"count": 21}).status_code == 400


def test_a_client_that_leaves_ends_its_snippet(box):
    body = {"code": "import time\nwhile True: time.sleep(0.1)"}
    with box.wire.http.stream("POST", "/execute", json=body, headers=box.headers) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    assert box.value("1 + 1") == "2"


def test_a_snippet_that_takes_too_long_is_ended_with_the_limit_that_it_met(box):
    box.execute("x = 7")
    error = box.execute("while True: pass")[-1]
    assert (error["type"], error["name"]) == ("error", "LimitExceeded")
    assert "wall_s" in error["value"] or "cpu_s" in error["value"]
    assert box.value("x") == "7"


def test_a_sandbox_that_is_killed_cuts_what_it_streams(wire, box):
    threading.Thread(target=lambda: (time.sleep(0.5), box.kill())).start()
    with pytest.raises(httpx2.RemoteProtocolError):
        box.call("POST", "/execute", {"code": "import time; time.sleep(4)"})


def test_what_e2b_has_and_this_server_has_not_is_said_to_be_missing(wire):
    answer = wire.api("GET", "/v2/templates")
    assert answer.status_code == 404
    assert answer.json()["message"] == "GET /v2/templates: this server has no such thing of E2B's."


def test_bodies_are_bounded_before_they_are_parsed(wire):
    answer = wire.api("POST", "/v2/sandboxes", {"templateID": "a" * 300_000})
    assert (answer.status_code, answer.json()["code"]) == (413, 413)
