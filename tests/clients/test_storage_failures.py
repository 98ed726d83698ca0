"""A full disk and a dead engine: told in each dialect, logged once, and gone on after."""

import errno
import json
import logging
import os
import signal

import httpx2
import openai
import pytest
from openai import OpenAI
from serving import KEY, MODEL, TalkModel, directory, serving
from talking import ONE_CALL, PLOT, POWER, STATE_1, STATE_2, TALKS, on_loop

from runner.server.store import blobs
from sandbox import ZygoteDied

GENERATION = "/api/v1/services/aigc/text-generation/generation"
CODE = {"enable_code_interpreter": True, "enable_thinking": True}
MESSAGES = [{"role": "user", "content": ONE_CALL}]
TOOLS = [{"type": "code_interpreter"}]
AUTH = {"authorization": f"Bearer {KEY}", "x-dashscope-sse": "enable"}
BODIES = {
    "/v1/responses": {"model": MODEL, "input": ONE_CALL, "stream": True, "tools": TOOLS},
    "/v1/chat/completions": {"model": MODEL, "messages": MESSAGES, "stream": True, **CODE},
    GENERATION: {"model": MODEL, "input": {"messages": MESSAGES}, "parameters": CODE},
}
FULL = {
    "message": "The server's disk is full.", "type": "server_error", "param": None,
    "code": "insufficient_storage",
}  # fmt: skip


@pytest.fixture
def server():
    with serving(directory(TalkModel(TALKS))) as running:
        yield running


@pytest.fixture
def asking(server):
    return OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def full_database(server):
    """The database may not grow by a page, until the test is over."""
    storage = server.services.storage

    def pages(most):
        pragma = storage._database._connection.pragma
        on_loop(server, storage.run(lambda _kept: pragma("max_page_count", most)))

    pages(1)
    yield
    pages(2**30)


def failures(caplog):
    return [one.facts for one in caplog.records if one.message == "failure"]


def test_a_full_disk_refuses_an_upload_once_and_keeps_nothing_of_it(
    server, asking, monkeypatch, caplog
):
    def write(_fd, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made = asking.containers.create(name="x")
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "cellblock.server"):
        patch.setattr(blobs.os, "write", write)
        for attempt in (
            lambda: asking.files.create(file=("a", b"data"), purpose="user_data"),
            lambda: asking.containers.files.create(made.id, file=("a", b"data")),
        ):
            caplog.clear()
            with pytest.raises(openai.InternalServerError) as caught:
                attempt()
            assert caught.value.status_code == 507
            assert json.loads(caught.value.response.text)["error"] == FULL
            assert caught.value.response.headers["x-should-retry"] == "false"
            assert [one["fault"] for one in failures(caplog)] == ["storage_full"]
    assert not asking.files.list().data
    assert not asking.containers.files.list(made.id).data
    root = server.services.storage.blobs._root
    assert [path for path in root.rglob("*") if path.is_file()] == []
    file = asking.files.create(file=("a", b"data"), purpose="user_data")
    assert asking.files.content(file.id).read() == b"data"


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_of_a_snippet_that_finds_the_disk_full_ends_the_response(
    server, asking, monkeypatch, stream
):
    def write(_fd, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    asked = {"model": MODEL, "input": PLOT, "tools": TOOLS}
    with monkeypatch.context() as patch:
        patch.setattr(blobs.os, "write", write)
        if stream:
            last = list(asking.responses.create(**asked, stream=True))[-1]
            assert last.type == "response.failed"
            assert last.response.error.message == FULL["message"]
        else:
            with pytest.raises(openai.InternalServerError) as caught:
                asking.responses.create(**asked)
            assert caught.value.status_code == 507
            assert caught.value.response.headers["x-should-retry"] == "false"
    (made,) = asking.containers.list()
    assert not asking.containers.files.list(made.id).data
    (cited,) = asking.responses.create(**asked).output[-1].content[0].annotations
    assert cited.filename == "plot.png"


def test_a_full_disk_before_a_response_is_507_and_the_model_is_not_asked(
    server, asking, monkeypatch
):
    monkeypatch.setattr("runner.server.store.storage.SPARE_BYTES", 2**62)
    with pytest.raises(openai.InternalServerError) as caught:
        asking.responses.create(model=MODEL, input=ONE_CALL, tools=TOOLS)
    assert caught.value.status_code == 507
    assert not server.services.directory.find(MODEL).model.scripts[ONE_CALL].requests
    made = asking.responses.create(model=MODEL, input=ONE_CALL, tools=TOOLS, store=False)
    assert POWER in made.output_text


def test_a_disk_that_fills_during_a_response_ends_it_with_an_error(
    server, asking, full_database, caplog
):
    # So long that no page that is there has room for it.
    asked = {"model": MODEL, "input": ONE_CALL, "tools": TOOLS, "instructions": "x" * 20_000}
    with caplog.at_level(logging.INFO, "cellblock.server"):
        with pytest.raises(openai.InternalServerError) as caught:
            asking.responses.create(**asked)
        assert caught.value.status_code == 507
        assert [one["fault"] for one in failures(caplog)] == ["storage_full"]
        caplog.clear()
        events = list(asking.responses.create(**asked, stream=True))
        assert events[-1].type == "response.failed"
        assert events[-1].response.error.message == "The server's disk is full."
        assert [one["fault"] for one in failures(caplog)] == ["storage_full"]
        with pytest.raises(openai.InternalServerError) as caught:
            asking.responses.create(**asked, background=True)
        assert caught.value.status_code == 507
    server.wait_until(lambda: not server.services.streams.open)


@pytest.mark.parametrize("path", ["/v1/chat/completions", GENERATION])
def test_dialects_that_keep_nothing_go_on_with_a_full_disk(server, full_database, path):
    reply = httpx2.post(server.origin + path, json=BODIES[path], headers=AUTH, timeout=60)
    assert reply.status_code == 200
    assert POWER in reply.text


# ---- the engine ---------------------------------------------------------------------------------


ENDS = {
    "/v1/responses": ("event: response.failed", "The code sandbox is not available."),
    "/v1/chat/completions": ('"error"', "The code sandbox is not available."),
    GENERATION: ("event:error\n:HTTP_STATUS/503", '"code":"ModelUnavailable"'),
}


@pytest.mark.parametrize("path", BODIES)
def test_a_dead_engine_ends_a_stream_in_its_dialect_and_is_logged_once(
    server, monkeypatch, caplog, path
):
    async def session():
        raise ZygoteDied("it was ended by SIGKILL")

    monkeypatch.setattr(server.services.box, "session", session)
    with caplog.at_level(logging.INFO, "cellblock.server"):
        reply = httpx2.post(server.origin + path, json=BODIES[path], headers=AUTH, timeout=60)
    last = reply.text.strip().split("\n\n")[-1]
    assert reply.status_code == 200
    for words in ENDS[path]:
        assert words in last
    assert [one["fault"] for one in failures(caplog)] == ["sandbox"]
    server.wait_until(lambda: not server.services.streams.open)


def test_an_engine_that_was_killed_is_started_again_and_the_model_is_told(server, asking):
    first = asking.responses.create(model=MODEL, input=STATE_1, tools=TOOLS)

    async def kill():
        os.kill(server.services.box._supply.zygote.pid, signal.SIGKILL)

    on_loop(server, kill())
    held = first.output[1].container_id
    server.wait_until(lambda: asking.containers.retrieve(held).x_variables == "lost")
    second = asking.responses.create(
        model=MODEL, input=STATE_2, tools=TOOLS, previous_response_id=first.id
    )
    (call,) = [item for item in second.output if item.type == "code_interpreter_call"]
    assert call.container_id == held
    assert "NameError" in call.outputs[0].logs
    asked = server.services.directory.find(MODEL).model.scripts[STATE_2].requests[-1]
    assert "variables and imports has ended" in asked.entries[-1].results[0].shown
