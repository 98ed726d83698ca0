"""The child process of the embedded model: started, used, ended. Its library is a stand-in."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
import uvloop
from scripted import ScriptedTool

from runner.errors import UpstreamError
from runner.events import Ended
from runner.loop import Loop
from runner.models import llama
from runner.models.embedded import PROFILE, Embedded
from runner.models.llama import LlamaProcess, Serving
from runner.models.port import ModelRequest
from runner.transcript import Entry, Instruction, Question

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake")
GONE_S = 30.0
QUESTION = "What is six times seven?"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Children load the stand-in instead of the library."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setattr(llama, "PASSED_ON", (*llama.PASSED_ON, "PYTHONPATH"))


def serving(tmp_path: Path, *, weights: str = "good") -> Serving:
    (tmp_path / "m.gguf").write_text(weights)
    return Serving(tmp_path / "m.gguf", "m", "{{ template }}", 4096, 320, tmp_path)


def asked(tmp_path: Path) -> list[list]:
    """Path and body of each request that a child got."""
    lines = (tmp_path / "m.asked").read_text().splitlines()
    return [json.loads(line) for line in lines]


def paths(tmp_path: Path) -> list[str]:
    return [path.rpartition("/")[2] for path, _ in asked(tmp_path)]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + GONE_S
    while is_there(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)


async def answer(model: Embedded, *before: Entry) -> Ended:
    tool = ScriptedTool(lambda code: str(eval(code)))
    request = ModelRequest(entries=(*before, Question(text=QUESTION)))
    loop = Loop(model, request, [tool], profile=PROFILE)
    async with aclosing(loop.run()) as events:
        last = [event async for event in events][-1]
    assert isinstance(last, Ended)
    return last


async def test_a_question_goes_through_the_child_and_back(tmp_path):
    model = Embedded(serving(tmp_path))
    ended = await answer(model)
    await model.close()
    assert [turn.text for turn in ended.turns] == ["", "It is 42."]
    assert paths(tmp_path) == ["completions", "0?action=save", "completions", "completions"]


def test_it_is_started_by_the_loop_that_serve_runs_on(tmp_path):
    async def main():
        model = Embedded(serving(tmp_path))
        ended = await answer(model)
        assert model.pid is not None
        group = os.getpgid(model.pid)
        assert group == model.pid, "Ctrl-C at the terminal would reach it"
        await model.close()
        return ended

    assert [turn.text for turn in uvloop.run(main()).turns] == ["", "It is 42."]


async def test_the_child_hears_the_examples_and_the_words_of_the_owner(tmp_path):
    model = Embedded(serving(tmp_path))
    await answer(model, Instruction(text="Be brief."))
    await model.close()
    _, first = asked(tmp_path)[2]
    roles = [message["role"] for message in first["messages"]]
    assert roles[0] == "system"
    assert first["messages"][0]["content"].startswith("Be brief.\n\nYou are a careful assistant")
    assert roles[1:].count("user") == 5
    assert first["messages"][-1] == {"role": "user", "content": QUESTION}
    assert (first["temperature"], first["max_tokens"], first["model"]) == (0.0, 320, "m")
    assert first["tool_choice"] == "auto"


async def test_without_the_tool_there_are_no_examples_of_it(tmp_path):
    model = Embedded(serving(tmp_path))
    loop = Loop(model, ModelRequest(entries=(Question(text="Hello!"),)), [], profile=PROFILE)
    async with aclosing(loop.run()) as events:
        _ = [event async for event in events]
    await model.close()
    assert asked(tmp_path)[2][1]["messages"] == [{"role": "user", "content": "Hello!"}]


async def test_what_every_conversation_begins_with_is_read_once_and_kept(tmp_path):
    first, second = Embedded(serving(tmp_path)), Embedded(serving(tmp_path))
    await first.warm()
    await first.close()
    await second.warm()
    await second.close()
    assert paths(tmp_path) == ["completions", "0?action=save", "0?action=restore"]
    assert len(list(tmp_path.glob("*.state"))) == 1


async def test_a_state_that_cannot_be_taken_over_is_made_anew(tmp_path):
    model = Embedded(serving(tmp_path))
    await model.warm()
    await model.close()
    state = next(tmp_path.glob("*.state"))
    state.write_text("torn")
    await model.warm()
    await model.close()
    assert state.read_text() == "state"
    assert paths(tmp_path)[2:] == ["0?action=restore", "completions", "0?action=save"]


async def test_a_conversation_that_is_too_long_is_told_with_a_way_out(tmp_path):
    model = Embedded(serving(tmp_path))
    request = ModelRequest(entries=(Question(text="word " * 1000),))
    with pytest.raises(UpstreamError, match=r"4096 tokens.*begin a new one") as caught:
        async with aclosing(model.stream(request)) as events:
            _ = [event async for event in events]
    await model.close()
    assert (caught.value.fault, caught.value.status) == ("rejected", 400)


async def test_another_key_gets_nothing(tmp_path):
    child = await LlamaProcess.start(serving(tmp_path))
    async with httpx2.AsyncClient() as client:
        url = f"{child.endpoint.url}/chat/completions"
        reply = await client.post(url, json={}, headers={"Authorization": "Bearer none"})
    await child.stop()
    assert reply.status_code == 401
    assert not is_there(child.pid)


async def test_the_child_sees_no_secrets_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLBLOCK_MODEL_KEY", "sk-secret")
    child = await LlamaProcess.start(serving(tmp_path))
    seen = Path(f"/proc/{child.pid}/environ").read_bytes()
    line = Path(f"/proc/{child.pid}/cmdline").read_bytes()
    await child.stop()
    assert b"sk-secret" not in seen
    assert child.endpoint.key.encode() not in seen + line
    assert b"OMP_WAIT_POLICY=passive" in seen


async def test_a_child_that_is_not_used_ends_and_comes_back_when_it_is(tmp_path):
    model = Embedded(serving(tmp_path), idle_s=0.0)
    await model.warm()
    first = model.pid
    while is_there(first):
        await asyncio.sleep(0.01)
    assert model.pid is None
    assert (await answer(model)).turns[-1].text == "It is 42."
    await model.close()


async def test_use_puts_off_the_end(tmp_path):
    model = Embedded(serving(tmp_path), idle_s=3600.0)
    await answer(model)
    first = model.pid
    await answer(model)
    assert model.pid == first
    await model.close()
    assert model.pid is None
    assert not is_there(first)


async def test_a_child_that_died_is_replaced(tmp_path):
    model = Embedded(serving(tmp_path))
    await model.warm()
    first = model.pid
    os.kill(first, signal.SIGKILL)
    while model.pid is not None:
        await asyncio.sleep(0.01)
    assert (await answer(model)).turns[-1].text == "It is 42."
    assert model.pid != first
    await model.close()


async def test_weights_that_do_not_load_are_told_with_the_reason(tmp_path):
    model = Embedded(serving(tmp_path, weights="broken"))
    with pytest.raises(UpstreamError, match="RuntimeError: failed to load the model") as caught:
        await model.warm()
    assert caught.value.fault == "failed"
    assert caught.value.public == "The model's endpoint failed."
    assert model.pid is None


async def test_a_load_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(llama, "START_S", 0.5)
    with pytest.raises(UpstreamError, match="did not load in") as caught:
        await Embedded(serving(tmp_path, weights="endless")).warm()
    assert caught.value.fault == "slow"


async def test_who_leaves_while_it_loads_leaves_no_child(tmp_path, monkeypatch):
    children = []
    made = LlamaProcess.__init__

    def noted(self, process, *rest):
        children.append(process.pid)
        made(self, process, *rest)

    monkeypatch.setattr(LlamaProcess, "__init__", noted)
    model = Embedded(serving(tmp_path, weights="endless"))
    waiting = asyncio.create_task(model.warm())
    while not children:
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not is_there(children[0])


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from runner.models import llama
    from runner.models.llama import LlamaProcess, Serving

    llama.PASSED_ON += ("PYTHONPATH",)
    made = LlamaProcess.__init__

    def told(self, process, *rest):
        print(process.pid, flush=True)
        made(self, process, *rest)

    LlamaProcess.__init__ = told

    async def main():
        where = Path(sys.argv[1])
        serving = Serving(where / "m.gguf", "m", "", 4096, 320, where)
        child = await LlamaProcess.start(serving)
        print("ready", flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


@pytest.mark.parametrize("weights", ["good", "endless"])
def test_the_child_ends_with_a_parent_that_is_killed(tmp_path, weights):
    serving(tmp_path, weights=weights)
    environment = {**os.environ, "PYTHONPATH": f"{FAKE}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if weights == "good":
            assert parent.stdout.readline() == "ready\n"
        parent.kill()
    wait_until_gone(child)
