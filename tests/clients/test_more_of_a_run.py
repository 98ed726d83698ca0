"""What a client may see of a run beside its output: tables, bill, refusals, layers."""

import httpx2
import pytest
from serving import KEY, MODEL
from talking import ONE_CALL, PLOT

MORE = "code_interpreter_call.x_outcome"


@pytest.fixture
def code_call(server, nothing_is_left):
    def ask(question, **fields):
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        body = {"model": MODEL, "input": question, "tools": tools, **fields}
        with httpx2.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client:
            answer = client.post(f"{server.origin}/v1/responses", json=body).json()
        return next(one for one in answer["output"] if one["type"] == "code_interpreter_call")

    return ask


def test_more_of_a_run_is_shown_to_a_client_that_includes_it(code_call):
    more = code_call(PLOT, include=[MORE])["x_outcome"]
    assert more["status"] == "completed"
    assert more["state"] == "kept"
    assert more["usage"]["peak_memory_bytes"] > 0
    assert {"seccomp", "landlock"} <= set(more["layers"])
    assert more["denials"] == []
    # The picture stands in the outputs; here is its place among the displays.
    assert more["displays"] == [{"text/plain": "a picture", "image/png": ""}]
    [made] = more["files"]
    assert made["path"] == "plot.png"
    assert made["file_id"].startswith("cfile_")


def test_a_client_that_does_not_ask_for_it_gets_no_field_of_ours(code_call):
    assert "x_outcome" not in code_call(ONE_CALL)
