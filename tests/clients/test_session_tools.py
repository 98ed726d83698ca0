"""Functions of a client over `/v1/sessions`, as plain HTTP sees them."""

import json

import httpx2
import pytest
from serving import KEY, TalkModel, directory, serving

HEADERS = {"authorization": f"Bearer {KEY}"}
ROWS = [["query", 1, False, None], ["limit", 1, True, 3]]
SEARCH = {"name": "search", "doc": "Finds things.", "parameters": ROWS}


@pytest.fixture(scope="module")
def client():
    with (
        serving(directory(TalkModel({}))) as running,
        httpx2.Client(base_url=running.origin, headers=HEADERS, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def session(client):
    place = f"/v1/sessions/{client.post('/v1/sessions').json()['id']}"
    yield place
    client.delete(place)


def run(client, session, code, answer, *tools):
    """The events of a run, each call answered by what `answer` makes of it."""
    seen = []
    body = {"code": code, "stream": True, "tools": list(tools)}
    with client.stream("POST", f"{session}/run", json=body) as reply:
        name = ""
        for line in reply.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                seen.append((name, data))
                if name == "tool_call":
                    answer(data)
    return seen


def test_a_call_is_an_event_and_its_answer_a_request(client, session):
    replies = []

    def answer(call):
        row = {"call_id": call["call_id"], "result": ["found", call["kwargs"]]}
        for _ in range(2):
            replies.append(client.post(f"{session}/tool_results", json={"results": [row]}))

    events = run(client, session, "search(query='x')", answer, SEARCH)
    [call] = [data for name, data in events if name == "tool_call"]
    assert (call["name"], call["args"], call["kwargs"]) == ("search", [], {"query": "x"})
    outcome = events[-1][1]
    assert outcome["text"] == "['found', {'query': 'x'}]"
    assert outcome["tool_calls"][0]["arguments"] == {"query": "x"}
    assert [reply.status_code for reply in replies] == [200, 404]
    assert replies[1].json()["error"]["param"] == "call_id"


def test_an_error_crosses_by_its_name(client, session):
    def answer(call):
        error = {"type": "LookupError", "message": "nothing"}
        body = {"results": [{"call_id": call["call_id"], "error": error}]}
        assert client.post(f"{session}/tool_results", json=body).status_code == 200

    events = run(client, session, "search('x')", answer, SEARCH)
    assert (events[-1][1]["error"]["type"], events[-1][1]["error"]["message"]) == (
        "LookupError",
        "nothing",
    )


def test_another_key_or_session_answers_nothing(client, session):
    other = f"/v1/sessions/{client.post('/v1/sessions').json()['id']}"
    statuses = []

    def answer(call):
        body = {"results": [{"call_id": call["call_id"], "result": 1}]}
        statuses.append(client.post(f"{other}/tool_results", json=body).status_code)
        statuses.append(client.post(f"{session}/tool_results", json=body).status_code)

    assert run(client, session, "search('x')", answer, SEARCH)[-1][1]["text"] == "1"
    assert statuses == [404, 200]
    client.delete(other)


def test_a_client_that_never_answers_is_waited_for_as_long_as_it_said(client, session):
    tool = {**SEARCH, "timeout_s": 0.3}
    events = run(client, session, "search('x')", lambda call: None, tool)
    assert events[-1][1]["error"]["type"] == "TimeoutError"


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"name": "no name"}], "tools"),
        ([{"name": "class"}], "tools"),
        ([SEARCH, SEARCH], "tools"),
        ([{"name": "f", "parameters": [["a", 9, False, None]]}], "tools"),
        ([{"name": "f", "parameters": [["b", 1, True, 1], ["a", 1, False, None]]}], "tools"),
        ([{"name": "f", "timeout_s": 1e9}], "tools.0.timeout_s"),
        ([{"name": "f"}] * 101, "tools"),
    ],
)
def test_what_is_no_function_is_refused_by_its_place(client, session, tools, param):
    body = {"code": "1", "stream": True, "tools": tools}
    reply = client.post(f"{session}/run", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_calls_need_a_stream_and_answers_a_body(client, session):
    reply = client.post(f"{session}/run", json={"code": "1", "tools": [SEARCH]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "tools")
    for body in ({}, {"results": []}, {"results": [{"call_id": "c", "error": {"type": ""}}]}):
        assert client.post(f"{session}/tool_results", json=body).status_code == 400


def test_a_program_is_talked_to(client, session):
    body = {"command": ["cat"], "stream": True, "interactive": True}
    seen = []
    with client.stream("POST", f"{session}/exec", json=body) as reply:
        lines = reply.iter_lines()
        for line in lines:
            if not line.startswith("data: "):
                continue
            data = json.loads(line[6:])
            seen.append(data)
            if "command_id" in data:
                place = f"{session}/commands/{data['command_id']}"
                wrong = client.post(f"{place}/signal", json={"signal": "SIGNONE"})
                assert wrong.status_code == 400
                client.post(f"{place}/stdin", content=b"hello")
            elif data.get("text") == "hello":
                client.post(f"{place}/stdin?close=true")
    assert seen[-1]["exit_code"] == 0
    assert client.post(f"{place}/stdin", content=b"x").status_code == 404


def test_values_travel_as_the_engine_carries_them(client, session):
    place = f"{session}/values/x"
    assert client.put(f"{place}?kind=json", content=b"[1, 2]").status_code == 200
    found = client.get(f"{place}?packed=true")
    assert (found.headers["x-value-kind"], found.content) == ("json", b"[1, 2]")
    assert client.put(f"{place}?kind=pickle", content=b"x").json()["error"]["param"] == "kind"
    assert client.put(f"{place}?kind=npy", content=b"no array").status_code == 400
