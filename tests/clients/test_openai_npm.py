"""The official npm client: plain iteration, the `stream()` helper, files, and an error."""

import fcntl
import json
import subprocess
from pathlib import Path

import pytest
from serving import KEY, MODEL
from talking import MADE, ONE_CALL, POWER, REPAIR, SIDE_BY_SIDE, SLOW, TWO, TWO_CALLS

FOLDER = Path(__file__).parent / "npm"


@pytest.fixture(scope="module")
def node():
    """Node with the client installed, from the lock file."""
    with open(FOLDER / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two test processes may want it at the same time.
        if not (FOLDER / "node_modules" / "openai").is_dir():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=FOLDER, check=True)

    def run(server, what, question):
        done = subprocess.run(
            ["node", "talk.mjs", server.origin, KEY, MODEL, what, question],
            cwd=FOLDER, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def test_plain_iteration_reads_thinking_code_answer_and_count(server, node, nothing_is_left):
    assert node(server, "responses", TWO_CALLS) == {
        "thinking": "First power, then division: two runs.Now divide that number by 5."
                    "Both results are known.",
        "answer": f"Run 1: {TWO}. Run 2: 2.338016430028866e+47.",
        "codes": [["123**23", TWO], [f"{TWO} / 5", "2.338016430028866e+47"]],
        "count": 2,
    }  # fmt: skip


CALL = ["reasoning", "code_interpreter_call"]


@pytest.mark.parametrize(
    ("question", "answer", "types", "code"),
    [
        (ONE_CALL, f"123 to the 21st power is {POWER}.", [*CALL, "reasoning", "message"],
         "123**21"),
        (SIDE_BY_SIDE, "It is 42.", [*CALL, "code_interpreter_call", "message"], "y = 6y * 7"),
        (REPAIR, "x + 1 is 42 once x is 41.", [*CALL, *CALL, "reasoning", "message"],
         "print(x + 1)x = 41\nprint(x + 1)"),
    ],
)  # fmt: skip
def test_the_stream_helper_builds_the_same_response(
    server, node, nothing_is_left, question, answer, types, code
):
    told = {"answer": answer, "types": types, "code": code}
    assert node(server, "helper", question) == told


def test_a_client_that_leaves_mid_stream_leaves_nothing_running(server, node, nothing_is_left):
    assert node(server, "leave", SLOW) == {"aborted": True}


def test_a_chat_stream_without_usage_has_no_empty_chunk(server, node, nothing_is_left):
    assert node(server, "chat", ONE_CALL) == {
        "thinking": "I need an exact value, so I will run Python.The tool returned the number.",
        "answer": f"123 to the 21st power is {POWER}.",
        "empty": 0,
    }


def test_a_file_goes_up_becomes_another_and_comes_down(server, node):
    assert node(server, "files", MADE) == {
        "filename": "doubled.csv", "made": "2\n4\n6\n", "kept": "1\n2\n3\n",
        "names": ["/mnt/data/data.csv", "/mnt/data/doubled.csv"], "deleted": True, "gone": True,
    }  # fmt: skip


def test_a_wrong_request_is_the_clients_own_error(server, node):
    assert node(server, "wrong", ONE_CALL) == {
        "name": "BadRequestError", "status": 400, "code": "invalid_parameter_error",
        "param": "enable_thinking", "type": "invalid_request_error", "hasId": True,
    }  # fmt: skip
