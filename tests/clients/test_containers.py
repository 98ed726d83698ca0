"""Containers and files with the official Python client: the round trip, lists, limits, owners."""

import asyncio
import base64
import json
import re
from pathlib import Path

import httpx2
import openai
import pytest
from container_talks import (
    BASES,
    BIG,
    COUNT,
    DOUBLE,
    EAT,
    KEYS,
    LIMITS,
    MANY,
    OTHER,
    REMOVE,
    SERVER,
    SLOW,
    SMALL,
    TALKS,
    age,
    ask,
    call_of,
    client,
    one_call,
    told,
)
from openai import AsyncOpenAI
from serving import KEY, MODEL, TalkModel, config, directory, serving

from runner.server.live import memory_limit


@pytest.fixture(scope="module")
def server():
    settings = config(keys=KEYS, server=SERVER, policy={"limits": LIMITS})
    with serving(directory(TalkModel(TALKS)), settings) as running:
        yield running


@pytest.mark.parametrize("base", BASES)
def test_a_file_goes_up_is_read_becomes_another_and_comes_down(server, base):
    asking = client(server, base=base)
    file = asking.files.create(file=("data.csv", b"1\n2\n3\n"), purpose="user_data")
    assert (file.object, file.bytes, file.filename) == ("file", 6, "data.csv")
    response = ask(asking, DOUBLE, {"type": "auto", "file_ids": [file.id]})
    ran = call_of(response)
    assert ran.outputs[0].logs == "[2, 4, 6]"
    (cited,) = response.output[-1].content[0].annotations
    assert (cited.type, cited.filename) == ("container_file_citation", "doubled.csv")
    assert cited.container_id == ran.container_id
    link = response.output_text[cited.start_index : cited.end_index]
    assert link == "sandbox:/mnt/data/doubled.csv"
    content = asking.containers.files.content
    assert content.retrieve(cited.file_id, container_id=cited.container_id).read() == b"2\n4\n6\n"
    listed = asking.containers.files.list(cited.container_id)
    assert {(one.path, one.source, one.bytes) for one in listed} == {
        ("/mnt/data/data.csv", "user", 6),
        ("/mnt/data/doubled.csv", "assistant", 6),
    }


def test_a_container_is_made_used_by_name_listed_and_deleted(server):
    asking = client(server)
    made = asking.containers.create(
        name="scratch", expires_after={"anchor": "last_active_at", "minutes": 5}
    )
    assert (made.object, made.status, made.name) == ("container", "running", "scratch")
    assert made.expires_after.minutes == 5
    assert made.network_policy.type == "disabled"
    assert made.x_variables == "none"
    sent = asking.containers.files.create(made.id, file=("data.csv", b"4\n"))
    assert (sent.path, sent.source, sent.bytes) == ("/mnt/data/data.csv", "user", 2)
    assert call_of(ask(asking, DOUBLE, made.id)).outputs[0].logs == "[8]"
    assert call_of(ask(asking, COUNT, made.id)).outputs[0].logs == "1"
    assert asking.containers.retrieve(made.id).x_variables == "live"
    assert [one.id for one in asking.containers.list(extra_query={"name": "scratch"})] == [made.id]
    asking.containers.delete(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        asking.containers.retrieve(made.id)
    assert json.loads(caught.value.response.text)["error"] == {
        "message": "Container not found", "type": "invalid_request_error", "param": None,
        "code": None,
    }  # fmt: skip
    with pytest.raises(openai.NotFoundError):
        ask(asking, COUNT, made.id)
    with pytest.raises(openai.NotFoundError):
        asking.containers.files.content.retrieve(sent.id, container_id=made.id)


def test_files_go_into_a_live_session_and_out_of_it(server):
    asking = client(server)
    file = asking.files.create(file=("data.csv", b"1\n"), purpose="user_data")
    made = asking.containers.create(name="live", file_ids=[file.id])
    assert call_of(ask(asking, DOUBLE, made.id)).outputs[0].logs == "[2]"
    (first,) = [one for one in asking.containers.files.list(made.id) if one.source == "user"]
    asking.containers.files.delete(first.id, container_id=made.id)
    newer = asking.containers.files.create(made.id, file=("data.csv", b"5\n6\n"))
    assert call_of(ask(asking, DOUBLE, made.id)).outputs[0].logs == "[10, 12]"
    asking.containers.files.delete(newer.id, container_id=made.id)
    copied = asking.containers.files.create(made.id, file_id=file.id)
    assert call_of(ask(asking, DOUBLE, made.id)).outputs[0].logs == "[2]"
    asking.containers.files.delete(copied.id, container_id=made.id)
    assert "FileNotFoundError" in call_of(ask(asking, DOUBLE, made.id)).outputs[0].logs


def test_a_file_that_code_changed_keeps_its_id_and_one_that_it_removed_is_gone(server):
    asking = client(server)
    made = asking.containers.create(name="changes")
    sent = asking.containers.files.create(made.id, file=("data.csv", b"1\n"))
    ask(asking, DOUBLE, made.id)
    (first,) = [one for one in asking.containers.files.list(made.id) if one.id != sent.id]
    asking.containers.files.delete(sent.id, container_id=made.id)
    asking.containers.files.create(made.id, file=("data.csv", b"50\n"))
    ask(asking, DOUBLE, made.id)
    again = asking.containers.files.content.retrieve(first.id, container_id=made.id)
    assert again.read() == b"100\n"
    assert call_of(ask(asking, REMOVE, made.id)).outputs[0].logs == "['doubled.csv']"
    assert [one.id for one in asking.containers.files.list(made.id)] == [first.id]


def test_files_inside_a_request_are_in_its_container_once(server):
    asking = client(server)
    data = base64.b64encode(b"7\n").decode()
    parts = [
        {"type": "input_text", "text": DOUBLE},
        {"type": "input_file", "filename": "data.csv", "file_data": f"data:text/csv;base64,{data}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}", "detail": "auto"},
    ]
    question = {"role": "user", "content": parts}
    tools = [{"type": "code_interpreter"}]
    first = asking.responses.create(model=MODEL, input=[question], tools=tools)
    assert call_of(first).outputs[0].logs == "[14]"
    asked = server.services.directory.find(MODEL).model.scripts[DOUBLE].requests[-1]
    assert asked.tools[0].description.endswith("Files that are there: data.csv, image_2.png.")
    again = {"role": "user", "content": COUNT}
    second = asking.responses.create(
        model=MODEL, input=[question, *first.output, again], tools=tools
    )
    assert call_of(second).container_id == call_of(first).container_id
    listed = asking.containers.files.list(call_of(first).container_id, order="asc")
    assert [(one.path, one.source) for one in listed] == [
        ("/mnt/data/data.csv", "user"),
        ("/mnt/data/image_2.png", "user"),
        ("/mnt/data/doubled.csv", "assistant"),
    ]
    for wrong in ("data:text/csv,7", "%%%", "data:text/csv;base64,%"):
        parts[1]["file_data"] = wrong
        with pytest.raises(openai.BadRequestError) as caught:
            asking.responses.create(model=MODEL, input=[question], tools=tools)
        assert caught.value.param == "input[0].content[1].file_data"


def test_lists_come_in_pages_in_both_orders(server):
    asking = client(server)
    made = asking.containers.create(name="pages")
    ask(asking, MANY, made.id)
    newest = [one.path for one in asking.containers.files.list(made.id, limit=2)]
    oldest = [one.path for one in asking.containers.files.list(made.id, limit=2, order="asc")]
    assert oldest == [f"/mnt/data/out/{n}.txt" for n in range(5)]
    assert newest == oldest[::-1]
    page = asking.containers.files.list(made.id, limit=2)
    assert (len(page.data), page.has_more) == (2, True)
    files = [asking.files.create(file=(f"{n}", b"x"), purpose="evals").id for n in range(5)]
    assert [one.id for one in asking.files.list(purpose="evals", limit=2)] == files[::-1]
    # Those that were turned over may be gone by the time the next page is asked for.
    for one in asking.files.list(purpose="evals", limit=2, order="asc"):
        asking.files.delete(one.id)
    assert not asking.files.list(purpose="evals").data
    names = [asking.containers.create(name="many").id for _ in range(3)]
    listed = asking.containers.list(limit=1, extra_query={"name": "many"})
    assert [one.id for one in listed] == names[::-1]


def test_a_file_is_fetched_and_deleted_and_its_copy_stays(server):
    asking = client(server)
    file = asking.files.create(file=("a.txt", b"text"), purpose="assistants")
    made = asking.containers.create(name="copy", file_ids=[file.id])
    assert asking.files.retrieve(file.id).purpose == "assistants"
    reply = asking.files.content(file.id)
    assert reply.read() == b"text"
    assert reply.response.headers["x-content-type-options"] == "nosniff"
    assert asking.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        asking.files.retrieve(file.id)
    (copy,) = asking.containers.files.list(made.id)
    assert asking.containers.files.content.retrieve(copy.id, container_id=made.id).read() == b"text"


def test_nobody_sees_what_another_key_has(server):
    asking, stranger = client(server), client(server, OTHER)
    file = asking.files.create(file=("data.csv", b"1\n"), purpose="user_data")
    made = asking.containers.create(name="mine", file_ids=[file.id])
    inside = asking.containers.files.list(made.id).data[0]
    response = ask(asking, DOUBLE, made.id)
    talk = asking.conversations.create()
    tries = (
        lambda: stranger.files.retrieve(file.id),
        lambda: stranger.files.content(file.id),
        lambda: stranger.files.delete(file.id),
        lambda: stranger.containers.retrieve(made.id),
        lambda: stranger.containers.delete(made.id),
        lambda: stranger.containers.files.list(made.id),
        lambda: stranger.containers.files.create(made.id, file=("x", b"")),
        lambda: stranger.containers.files.retrieve(inside.id, container_id=made.id),
        lambda: stranger.containers.files.content.retrieve(inside.id, container_id=made.id),
        lambda: stranger.containers.files.delete(inside.id, container_id=made.id),
        lambda: stranger.containers.create(name="x", file_ids=[file.id]),
        lambda: ask(stranger, DOUBLE, made.id),
        lambda: ask(stranger, DOUBLE, {"type": "auto", "file_ids": [file.id]}),
        lambda: stranger.responses.retrieve(response.id),
        lambda: stranger.responses.delete(response.id),
        lambda: stranger.responses.input_items.list(response.id),
        lambda: stranger.conversations.retrieve(talk.id),
        lambda: stranger.conversations.items.list(talk.id),
    )
    for attempt in tries:
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert not stranger.files.list().data
    assert not stranger.containers.list().data
    assert asking.files.content(file.id).read() == b"1\n"


@pytest.mark.parametrize(
    "wrong", ["x", "cntr_", "../../etc/passwd", "cntr_" + "0" * 32, "é", "a" * 64]
)
def test_an_id_that_is_none_is_unknown(server, wrong):
    asking = client(server)
    for attempt in (
        lambda: asking.containers.retrieve(wrong),
        lambda: asking.files.retrieve(wrong),
        lambda: asking.files.content(wrong),
        lambda: ask(asking, COUNT, wrong),
        lambda: asking.containers.create(name="x", file_ids=[wrong]),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_an_id_that_is_too_long_and_a_wrong_cursor_are_400(server):
    asking = client(server)
    with pytest.raises(openai.BadRequestError):
        ask(asking, COUNT, "cntr_" + "0" * 60)
    with pytest.raises(openai.BadRequestError) as caught:
        asking.files.list(after="file-nothing")
    assert caught.value.param == "after"
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError):
            asking.containers.list(limit=limit)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "expires_after": {"anchor": "now", "minutes": 5}}, "expires_after.anchor"),
        ({"name": "x", "expires_after": {"anchor": "last_active_at", "minutes": 0}},
         "expires_after.minutes"),
        ({"name": "x", "memory_limit": "2g"}, "memory_limit"),
        ({"name": "x", "memory_limit": "4g"}, "memory_limit"),
        ({"name": "x", "network_policy": {"type": "allowlist", "allowed_domains": ["a.org"]}},
         "network_policy.type"),
        ({"name": "x", "skills": [{"type": "skill_reference", "skill_id": "s"}]}, "skills"),
    ],
)  # fmt: skip
def test_a_container_that_cannot_be_had_is_400(server, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client(server).containers.create(**wrong)
    assert caught.value.param == param


def test_a_file_over_the_cap_is_refused_and_one_at_the_cap_is_kept(server):
    asking = client(server)
    made = asking.containers.create(name="cap")
    cap = SERVER.file_bytes
    for attempt in (
        lambda data: asking.files.create(file=("x", data), purpose="user_data"),
        lambda data: asking.containers.files.create(made.id, file=("x", data)),
    ):
        assert attempt(bytes(cap)).bytes == cap
        for size in (cap + 1, 2 * cap):
            with pytest.raises(openai.APIStatusError) as caught:
                attempt(bytes(size))
            assert (caught.value.status_code, caught.value.param) == (413, "file")
    for n in range(3):
        asking.containers.files.create(made.id, file=(f"{n}", bytes(cap)))
    with pytest.raises(openai.BadRequestError, match="may take 8388608 bytes together"):
        asking.containers.files.create(made.id, file=("3", bytes(cap)))


def test_a_file_of_a_snippet_that_is_too_large_is_told_of_and_not_cited(server):
    asking = client(server)
    response = ask(asking, BIG, {"type": "auto"})
    assert not response.output[-1].content[0].annotations
    assert not asking.containers.files.list(call_of(response).container_id).data
    words = "only until this session ends: /mnt/data/big.bin: it is larger than 2000000 bytes"
    assert words in told(server, BIG)


def test_a_key_stores_no_more_than_it_may(server):
    asking = client(server, SMALL)
    kept = asking.files.create(file=("a", bytes(900)), purpose="user_data")
    for attempt in (
        lambda: asking.files.create(file=("b", bytes(101)), purpose="user_data"),
        lambda: asking.containers.create(name="x", file_ids=[kept.id]),
        lambda: asking.conversations.create(items=[{"role": "user", "content": "x" * 200}]),
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            attempt()
        assert caught.value.code == "insufficient_quota"
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert not asking.containers.list().data
    response = ask(asking, MANY, {"type": "auto"})
    with pytest.raises(openai.RateLimitError):
        ask(asking, MANY, {"type": "auto"})
    assert ask(asking, MANY, {"type": "auto"}, store=False).status == "completed"
    asking.responses.delete(response.id)
    asking.files.delete(kept.id)
    assert ask(asking, MANY, {"type": "auto"}).status == "completed"


def test_a_memory_limit_is_what_a_snippet_meets(server):
    asking = client(server)
    made = asking.containers.create(name="memory")
    assert (made.memory_limit, made.x_memory_bytes) == ("1g", 512 * 2**20)
    assert call_of(ask(asking, EAT, made.id)).outputs[0].logs == str(300 * 2**20)


def test_a_memory_limit_that_is_asked_for_is_held(server, monkeypatch):
    monkeypatch.setitem(memory_limit.MEMORY_LIMITS, "1g", 128 * 2**20)
    made = client(server).containers.create(name="small", memory_limit="1g")
    assert (made.memory_limit, made.x_memory_bytes) == ("1g", 128 * 2**20)
    ran = call_of(ask(client(server), EAT, made.id))
    assert "it used more than 128 MiB of memory" in ran.outputs[0].logs


def test_a_container_that_is_deleted_under_a_snippet_ends_it(server):
    asking = client(server)
    made = asking.containers.create(name="deleted")
    with ask(asking, SLOW, made.id, stream=True) as stream:
        for event in stream:
            if event.type == "response.code_interpreter_call.interpreting":
                asking.containers.delete(made.id)
        assert event.type == "response.completed"
    (call,) = [item for item in event.response.output if item.type == "code_interpreter_call"]
    assert call.status == "failed"
    assert "The sandbox lost this session while the code ran" in call.outputs[0].logs
    with pytest.raises(openai.NotFoundError):
        asking.containers.retrieve(made.id)


def test_a_session_that_gives_way_to_another_takes_its_variables_and_no_files():
    few = SERVER.model_copy(update={"max_sessions": 5})
    with serving(directory(TalkModel(TALKS)), config(keys=KEYS, server=few)) as server:
        asking = client(server)
        made = [asking.containers.create(name=name).id for name in "ab"]
        for one in made:
            asking.containers.files.create(one, file=("data.csv", b"3\n"))
            assert call_of(ask(asking, DOUBLE, one)).outputs[0].logs == "[6]"
        found = {one.id: one.x_variables for one in asking.containers.list()}
        assert found == {made[0]: "lost", made[1]: "live"}
        ran = call_of(ask(asking, COUNT, made[0]))
        assert "NameError: name 'numbers' is not defined" in ran.outputs[0].logs
        assert "they are gone" in told(server, COUNT)
        assert call_of(ask(asking, DOUBLE, made[0])).outputs[0].logs == "[6]"


async def test_more_at_once_than_there_are_sessions_all_have_their_turn():
    few = SERVER.model_copy(update={"max_sessions": 6})
    with serving(directory(TalkModel(TALKS)), config(keys=KEYS, server=few)) as server:
        tools = [{"type": "code_interpreter"}]
        async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key=KEY) as asking:
            made = [
                asking.responses.create(model=MODEL, input=MANY, tools=tools) for _ in range(12)
            ]
            async with asyncio.timeout(60):
                done = await asyncio.gather(*made)
        assert {one.status for one in done} == {"completed"}
        found = client(server).containers.list()
        assert sorted(one.x_variables for one in found) == ["live"] * 2 + ["lost"] * 10
        # Sessions without a model are worth more than idle containers.
        auth = {"authorization": f"Bearer {KEY}"}
        for _ in range(6):
            reply = httpx2.post(f"{server.origin}/v1/sessions", headers=auth, timeout=60)
            assert reply.status_code == 201
        assert {one.x_variables for one in client(server).containers.list()} == {"lost"}


def test_an_idle_container_expires_keeps_its_files_and_is_of_no_more_use(server):
    asking = client(server)
    made = asking.containers.create(
        name="idle", expires_after={"anchor": "last_active_at", "minutes": 1}
    )
    sent = asking.containers.files.create(made.id, file=("data.csv", b"1\n"))
    first = ask(asking, DOUBLE, made.id)
    age(server, made.id, 120)
    found = asking.containers.retrieve(made.id)
    assert (found.status, found.x_variables) == ("expired", "lost")
    content = asking.containers.files.content.retrieve(sent.id, container_id=made.id)
    assert content.read() == b"1\n"
    for attempt in (
        lambda: ask(asking, COUNT, made.id),
        lambda: asking.containers.files.create(made.id, file=("x", b"")),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            attempt()
        assert "Container is expired." in caught.value.message
    again = ask(asking, COUNT, {"type": "auto"}, previous_response_id=first.id)
    assert call_of(again).container_id != made.id
    assert "NameError" in call_of(again).outputs[0].logs
    age(server, made.id, 40 * 24 * 3600)
    with pytest.raises(openai.NotFoundError):
        asking.containers.retrieve(made.id)


def test_the_round_trip_of_the_documents_fetches_the_plot_that_it_asks_for(tmp_path, monkeypatch):
    document = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", document, re.S) if "files" in one]
    question = re.search(r'input="(.*?)"', block)[1]
    code = "open('plot.png', 'wb').write(open('sales.csv', 'rb').read())"
    talks = {question: one_call(code, "[plot.png](sandbox:/mnt/data/plot.png)")}
    (tmp_path / "sales.csv").write_bytes(b"region,amount\n")
    monkeypatch.chdir(tmp_path)
    with serving(directory(TalkModel({}), any=TalkModel(talks)), config(keys=KEYS)) as server:
        exec(block.replace("http://127.0.0.1:8000", server.origin), {"KEY": KEY})
    assert (tmp_path / "plot.png").read_bytes() == b"region,amount\n"
