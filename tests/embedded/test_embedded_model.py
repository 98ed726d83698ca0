"""The embedded model itself, on this machine: the whole tool loop, from the wire to the jail.

What is asserted is the mechanics, and two values that a program of one line gives. The model is
small and no program of it is the same twice, so nothing here depends on its wit.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest
from serving import KEY, MODEL, serving

from runner.models.directory import Directory, Served
from runner.models.embedded import PROFILE, embedded
from runner.models.fallback import can_run
from runner.models.replay import Recorder
from runner.models.weights import QWEN_CODER, Shelf
from sandbox import Sandbox

ROOT = Path(__file__).parents[2]
POWER = str(123**21)
ANSWERS_WITHIN_S = 600.0


@pytest.fixture(scope="module", autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """The weights are here; else the reason and the remedy."""
    if can_run() and Shelf().has(QWEN_CODER):
        return
    reason = "the embedded model is not installed. Run: cellblock model install"
    if request.config.getoption("--require-model"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def jail() -> None:
    """The default tier is possible: a missing layer is told as for every test of it."""
    with Sandbox() as box:
        assert box.run("6 * 7").text == "42"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded") / "exchanges.jsonl"


@pytest.fixture(scope="module")
def server(jail: None, recording: Path):
    """A server whose only model is the embedded one; all that it is asked is recorded."""
    model = Recorder(embedded(), recording)
    with serving(Directory({}, ready={MODEL: Served(model, PROFILE)})) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(
        base_url=f"{server.origin}/v1", api_key=KEY, timeout=ANSWERS_WITHIN_S, max_retries=0
    ) as made:
        yield made


def digits(text: str) -> str:
    """`text` without what may stand between the digits of a number."""
    return re.sub(r"(?<=\d)[,_\s](?=\d{3})", "", text)


def test_questions_become_code_and_results_become_answers(client, recording):
    reply = client.responses.create(
        model=MODEL,
        input="What is 123 to the 21st power?",
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
        include=["code_interpreter_call.outputs"],
        extra_body={"enable_thinking": True},
    )
    assert reply.status == "completed"
    calls = [item for item in reply.output if item.type == "code_interpreter_call"]
    assert "123" in calls[0].code
    assert any(POWER in output.logs for call in calls for output in call.outputs)
    assert POWER in digits(reply.output_text)
    assert reply.usage.output_tokens > 0

    asked = [json.loads(line)["request"]["entries"] for line in recording.read_text().splitlines()]
    assert len(asked) == len(calls) + 1
    assert POWER in asked[-1][-1]["results"][0]["shown"]

    # The same server and process, for each is slow to start: another value, streamed.
    chunks = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is 17 factorial?"}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"enable_code_interpreter": True, "enable_thinking": True},
    )
    found = list(chunks)
    text = "".join(one.choices[0].delta.content or "" for one in found if one.choices)
    assert "355687428096000" in digits(text)
    assert found[-1].usage.total_tokens > 600


COMMAND = "import sys; sys.argv[0] = 'cellblock'; from runner.cli import main; main()"


def test_the_command_answers_without_a_key_and_leaves_no_process(jail, tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CELLBLOCK_")
    }
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "chat", "What is 2 to the 64th power?", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        said, complained = process.communicate(timeout=ANSWERS_WITHIN_S)
    events = [json.loads(line) for line in said.splitlines()]
    assert process.returncode == 0, complained.decode()
    assert [event["event"] for event in events][:2] == ["code", "output"]
    assert events[-1]["counts"]["code_interpreter"] >= 1
    assert servers_of(process.pid) == []


KILLED = """
import asyncio
from runner.models.embedded import embedded

async def main():
    model = embedded()
    await model.warm()
    print(model.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_kill_of_the_parent_leaves_nothing_of_the_model():
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert servers_of(parent.pid) == []


def servers_of(session: int) -> list[int]:
    """Processes of the session that a command was started in which serve a model."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            line = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[3]) == session and b"llama_server.py" in line and fields[0] != "Z":
            found.append(int(path.name))
    return found
