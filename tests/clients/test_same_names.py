"""Files of one name in one container: both are there, by whatever way they came."""

import pytest
from openai import OpenAI
from scripted import CALLED, STOPPED, call, say
from serving import KEY, MODEL, TalkModel, directory, serving

LOOK = "import os\nfor n in sorted(os.listdir('.')): print(n, open(n).read())"
ODD = "open(b'caf\\xe9.txt', 'w').write('odd')"
CHANGE = "open('data.csv', 'w').write('changed')"
BOTH = "data (1).csv february\ndata.csv january\n"


@pytest.fixture(scope="module")
def server():
    scripts = {
        "Look.": [[*call(LOOK), CALLED], [*say("Done."), STOPPED]],
        "Odd.": [
            [*call(ODD), CALLED],
            [*say("Ok."), STOPPED],
        ],
        "Change.": [[*call(CHANGE), CALLED], [*say("Done."), STOPPED]],
    }
    with serving(directory(TalkModel(scripts))) as running:
        yield running


@pytest.fixture
def client(server):
    return OpenAI(base_url=f"{server.origin}/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def uploads(client):
    contents = (b"january", b"february")
    return [client.files.create(file=("data.csv", one), purpose="user_data").id for one in contents]


def look(client, container, question="Look.", **more) -> str:
    response = client.responses.create(
        model=MODEL, input=question, include=["code_interpreter_call.outputs"],
        tools=[{"type": "code_interpreter", "container": container}], **more,
    )  # fmt: skip
    ran = next(item for item in response.output if item.type == "code_interpreter_call")
    return ran.outputs[0].logs if ran.outputs else ""


def contents(client, container_id):
    return {
        file.path: client.containers.files.content.retrieve(file.id, container_id=container_id)
        .read()
        .decode()
        for file in client.containers.files.list(container_id)
    }


def test_a_container_that_is_made_with_both(client, uploads):
    made = client.containers.create(name="both", file_ids=uploads)
    both = {"/mnt/data/data.csv": "january", "/mnt/data/data (1).csv": "february"}
    assert contents(client, made.id) == both
    assert look(client, made.id) == BOTH


def test_an_automatic_container_with_both(server, client, uploads):
    assert look(client, {"type": "auto", "file_ids": uploads}) == BOTH
    asked = server.services.directory.find(MODEL).model.scripts["Look."].requests[-1]
    assert "data.csv, data (1).csv" in asked.tools[0].description


def test_files_that_are_put_into_a_container_one_after_the_other(client):
    made = client.containers.create(name="later")
    paths = [
        client.containers.files.create(made.id, file=("data.csv", data)).path
        for data in (b"january", b"february", b"january")
    ]
    assert paths == ["/mnt/data/data.csv", "/mnt/data/data (1).csv", "/mnt/data/data.csv"]
    assert look(client, made.id) == BOTH


def test_files_that_come_inside_a_request(client):
    files = [
        {"type": "input_file", "filename": "data.csv", "file_data": f"data:text/csv;base64,{data}"}
        for data in ("amFudWFyeQ==", "ZmVicnVhcnk=")
    ]
    question = [{"role": "user", "content": [*files, {"type": "input_text", "text": "Look."}]}]
    assert look(client, {"type": "auto"}, question) == BOTH


def test_a_chat_whose_container_is_not_kept(server, client, uploads):
    tools = [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": uploads}}]
    client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Look."}], tools=tools
    )
    asked = server.services.directory.find(MODEL).model.scripts["Look."].requests[-1]
    assert asked.entries[-1].results[0].shown == BOTH.rstrip()


def test_what_code_changed_is_not_overwritten_when_its_upload_is_named_again(client, uploads):
    made = client.containers.create(name="changed", file_ids=uploads[:1])
    look(client, made.id, "Change.")
    again = client.files.create(file=("data.csv", b"february"), purpose="user_data").id
    part = {"type": "input_file", "file_id": again}
    question = [{"role": "user", "content": [part, {"type": "input_text", "text": "Look."}]}]
    assert look(client, made.id, question) == "data (1).csv february\ndata.csv changed\n"


def test_a_file_whose_name_is_no_utf8_is_kept_under_its_escaped_name(client):
    made = client.containers.create(name="odd")
    look(client, made.id, "Odd.")
    assert contents(client, made.id) == {"/mnt/data/caf\\udce9.txt": "odd"}
