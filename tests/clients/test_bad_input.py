"""Requests that no client should send: each dialect's own status and words, before any work."""

import http.client
import json
import socket

import httpx2
import pytest
from serving import KEY, MODEL, Turns
from talking import ONE_CALL, SLOW

GENERATION = "/api/v1/services/aigc/text-generation/generation"
MESSAGES = [{"role": "user", "content": ONE_CALL}]
RESPONSE = {"model": MODEL, "input": ONE_CALL}
CHAT = {"model": MODEL, "messages": MESSAGES, "stream": True}
NATIVE = {"model": MODEL, "input": {"messages": MESSAGES}}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def post(server, path, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.post(
        server.origin + path, content=content, headers={**HEADERS, **headers}, timeout=60
    )


def claiming(server, path, length):
    """(status, body) of a request whose head claims `length` bytes, of which one is sent."""
    host, port = server.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}content-length: {length}\r\n\r\n{{".encode())
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        return reply.status, json.loads(reply.read())


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


WRONG = [
    ("/v1/responses", {**RESPONSE, "model": 7}, "model"),
    ("/v1/responses", {**RESPONSE, "input": 7}, "input"),
    ("/v1/responses", {**RESPONSE, "input": [7]}, "input[0]"),
    ("/v1/responses", {**RESPONSE, "input": [{"type": "dance"}]}, "input[0].type"),
    ("/v1/responses", {**RESPONSE, "tools": "all"}, "tools"),
    ("/v1/responses", {**RESPONSE, "tools": [{"type": "dance"}]}, "tools[0].type"),
    ("/v1/responses", {**RESPONSE, "temperature": "hot"}, "temperature"),
    ("/v1/responses", {**RESPONSE, "max_tool_calls": -1}, "max_tool_calls"),
    ("/v1/responses", {**RESPONSE, "metadata": {"a": 1}}, "metadata.a"),
    ("/v1/responses", {**RESPONSE, "reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ("/v1/chat/completions", {**CHAT, "messages": "hello"}, "messages"),
    ("/v1/chat/completions", {**CHAT, "messages": [{"role": "king"}]}, "messages[0].role"),
    ("/v1/chat/completions", {**CHAT, "stream": "yes"}, "stream"),
    ("/v1/chat/completions", {**CHAT, "tools": [{"type": "dance"}]}, "tools[0].type"),
    ("/v1/chat/completions", {**CHAT, "max_tokens": 0}, "max_tokens"),
    ("/v1/chat/completions", {**CHAT, "n": 3}, "n"),
    ("/v1/chat/completions", {**CHAT, "stream_options": []}, "stream_options"),
    (GENERATION, {**NATIVE, "input": 7}, "input"),
    (GENERATION, {**NATIVE, "input": {}}, "messages"),
    (GENERATION, {**NATIVE, "parameters": {"top_p": 0}}, "parameters.top_p"),
    (GENERATION, {**NATIVE, "parameters": {"result_format": "xml"}}, "parameters.result_format"),
    (GENERATION, {**NATIVE, "parameters": {"tools": [{"type": "dance"}]}},
     "parameters.tools[0].type"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "param"), WRONG)
def test_a_field_of_the_wrong_kind_is_named(server, path, body, param):
    reply = post(server, path, body)
    assert reply.status_code == 400
    if path == GENERATION:
        assert reply.json()["code"] == "InvalidParameter"
        assert param in reply.json()["message"]
    else:
        error = reply.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert param.rpartition(".")[2] in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/responses", RESPONSE), ("/v1/chat/completions", CHAT), (GENERATION, NATIVE)],
)
def test_an_unknown_model_is_404_and_a_deep_or_huge_body_is_refused(server, path, body):
    unknown = post(server, path, {**body, "model": "nobody"})
    assert unknown.status_code == 404
    assert "nobody" in unknown.text
    # Known to the parser, but deeper than any request needs.
    nested = post(server, path, {**body, "metadata": deep(200)})
    assert nested.status_code == 400
    wrong_key = post(server, path, body, authorization="Bearer sk-wrong")
    assert wrong_key.status_code == 401
    status, huge = claiming(server, path, 2**40)
    assert status == 413
    codes = [unknown.json(), nested.json(), huge, wrong_key.json()]
    if path == GENERATION:
        assert [one["code"] for one in codes] == [
            "ModelNotFound", "InvalidParameter", "BadRequest.TooLarge", "InvalidApiKey",
        ]  # fmt: skip
    else:
        assert [one["error"]["code"] for one in codes] == [
            "model_not_found", "invalid_parameter_error", "request_too_large", "invalid_api_key",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/responses", "timeout"), ("/v1/chat/completions", "timeout"),
     (GENERATION, "RequestTimeOut")],
)  # fmt: skip
def test_a_body_that_stops_in_the_middle_is_waited_for_no_longer(server, monkeypatch, path, code):
    monkeypatch.setattr("runner.server.http.bodies.SILENCE_S", 0.2)
    status, body = claiming(server, path, 100)
    assert status == 408
    assert (body["code"] if path == GENERATION else body["error"]["code"]) == code


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        KEY,
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        "Bearer \xff",
        "Basic \xff\xfe",
        "Basic /////w==",
        "token \xff",
    ],
)
def test_a_key_counts_only_whole_and_as_a_bearers(server, header):
    reply = httpx2.get(
        f"{server.origin}/v1/models", headers={"authorization": header.encode("latin-1")}
    )
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/v1/files", "/upload/batch"])
def test_a_form_that_no_parser_takes_is_a_bad_request(server, path):
    for boundary in ("b" * 50_000, "b" * 300, "\xff", '"'):
        head = {"content-type": f"multipart/form-data; boundary={boundary}".encode("latin-1")}
        auth = {"authorization": f"Bearer {KEY}", "x-api-key": KEY}
        reply = httpx2.post(f"{server.origin}{path}", content=b"--b", headers={**auth, **head})
        assert 400 <= reply.status_code < 500, reply.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), (b"[]", 400), (b'{"code": 7}', 400), (b'{"code": "1", "more": 1}', 400),
        (b'{"code": ' + b"[" * 100_000, 400),
        (json.dumps({"code": "1", "limits": {"wall_s": 0}}).encode(), 400),
        (json.dumps({"code": "1" * 1_000_001}).encode(), 400),
        (b" " * (65 * 1024 * 1024), 413),
    ],
)  # fmt: skip
def test_the_engine_over_rest_has_the_same_bounds(server, body, status):
    opened = httpx2.post(f"{server.origin}/v1/sessions", headers=HEADERS).json()
    session = f"/v1/sessions/{opened['id']}"
    reply = post(server, f"{session}/run", body)
    assert reply.status_code == status
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert post(server, f"{session}/run", {"code": "1 + 1"}).json()["text"] == "2"
    assert httpx2.delete(server.origin + session, headers=HEADERS).status_code == 200


def test_a_client_that_leaves_a_run_over_rest_interrupts_the_snippet(server):
    opened = httpx2.post(f"{server.origin}/v1/sessions", headers=HEADERS).json()
    session = f"/v1/sessions/{opened['id']}"
    body = {"code": "import time\nprint('begun', flush=True)\ntime.sleep(600)", "stream": True}
    with httpx2.stream(
        "POST", f"{server.origin}{session}/run", json=body, headers=HEADERS, timeout=60
    ) as reply:
        assert any("begun" in line for line in reply.iter_lines())
    server.wait_until(lambda: not server.services.streams.open)
    again = post(server, f"{session}/run", {"code": "'free'"})
    assert again.json()["text"] == "'free'"
    assert httpx2.delete(server.origin + session, headers=HEADERS).status_code == 200


LEFT = {
    "/v1/responses": {"model": MODEL, "input": SLOW, "stream": True,
                      "tools": [{"type": "code_interpreter"}]},
    "/v1/chat/completions": {"model": MODEL, "stream": True, "enable_thinking": True,
                             "enable_code_interpreter": True,
                             "messages": [{"role": "user", "content": SLOW}]},
    GENERATION: {"model": MODEL, "input": {"messages": [{"role": "user", "content": SLOW}]},
                 "parameters": {"enable_thinking": True, "enable_code_interpreter": True}},
}  # fmt: skip


@pytest.mark.parametrize("path", LEFT)
def test_a_client_that_leaves_while_code_runs_leaves_nothing_running(server, path):
    with httpx2.stream(
        "POST", server.origin + path, json=LEFT[path], timeout=60,
        headers={**HEADERS, "x-dashscope-sse": "enable"},
    ) as reply:  # fmt: skip
        # The first heartbeat comes in the silence of the sleeping snippet.
        assert any(line.startswith(":") and "HTTP_STATUS" not in line
                   for line in reply.iter_lines())  # fmt: skip
        assert len(server.services.streams.open) == 1
    services = server.services
    server.wait_until(lambda: not services.streams.open)
    assert services.directory.find(MODEL).model.scripts[SLOW].open == 0
    # No place among the key's requests is taken, and no session is expected, any more.
    assert services.accounts.find(f"Bearer {KEY}").open_requests == 0
    assert services.box.expected == 0


@pytest.mark.parametrize("path", ["/healthz", "/v1/sessions", "/"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cookie", 'a="' + '\\"' * 30_000 + '"'),
        ("cookie", 'cellblock_1="' + "\\101" * 15_000 + '"'),
        ("cookie", "a=b;" * 15_000),
        ("content-type", 'multipart/form-data; boundary="' + '\\";' * 20_000),
    ],
    ids=["quotes", "octal", "many", "form"],
)
def test_a_long_header_is_read_in_no_time(server, path, name, value):
    turns = Turns(server)
    reply = httpx2.get(server.origin + path, headers={**HEADERS, name: value}, timeout=60)
    longest_s = turns.end()
    assert reply.status_code == 200
    # It was 4 s, in which the server answered no other request.
    assert longest_s < 0.5


def test_heads_of_parts_are_read_in_turns(server):
    """Each is bounded, for it is read in quadratic time; a form may have many."""
    value = '"' + "a;" * 1900
    part = f'--edge\r\ncontent-disposition: form-data; name="{value}\r\n\r\nx\r\n'
    head = {**HEADERS, "content-type": "multipart/form-data; boundary=edge"}
    body = (part * 90 + "--edge--\r\n").encode()
    reply = httpx2.post(f"{server.origin}/v1/files", content=body, headers=head, timeout=60)
    assert reply.status_code == 400
    long = body.replace(b"a;", b"a;" * 5)
    reply = httpx2.post(f"{server.origin}/v1/files", content=long, headers=head, timeout=60)
    assert reply.status_code in (400, 413)
