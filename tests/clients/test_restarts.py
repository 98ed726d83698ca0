"""What outlives a restart of the server, and what a stop cuts short."""

import pytest
from container_talks import (
    COUNT,
    DOUBLE,
    KEYS,
    LIMITS,
    MANY,
    SERVER,
    TALKS,
    ask,
    call_of,
    client,
    told,
    unfinish,
)
from serving import TalkModel, config, directory, running

from runner.errors import ConfigError
from runner.server.app import open_services


@pytest.fixture
def settings(tmp_path):
    server = SERVER.model_copy(update={"data_dir": str(tmp_path / "data")})
    return config(keys=KEYS, server=server, policy={"limits": LIMITS})


def test_all_but_the_variables_survive_a_restart(settings):
    models = TalkModel(TALKS)
    with running(directory(models), settings) as server:
        asking = client(server)
        file = asking.files.create(file=("data.csv", b"1\n2\n"), purpose="user_data")
        first = ask(asking, DOUBLE, {"type": "auto", "file_ids": [file.id]})
        talk = asking.conversations.create(items=[{"role": "user", "content": "Hello."}])
        container_id = call_of(first).container_id
    with running(directory(TalkModel(TALKS)), settings) as server:
        asking = client(server)
        assert asking.files.content(file.id).read() == b"1\n2\n"
        assert asking.responses.retrieve(first.id).output_text == first.output_text
        (said,) = asking.conversations.items.list(talk.id)
        assert said.content[0].text == "Hello."
        found = asking.containers.retrieve(container_id)
        assert (found.status, found.x_variables) == ("running", "lost")
        names = [one.path for one in asking.containers.files.list(container_id, order="asc")]
        assert names == ["/mnt/data/data.csv", "/mnt/data/doubled.csv"]
        second = ask(asking, COUNT, {"type": "auto"}, previous_response_id=first.id)
        assert call_of(second).container_id == container_id
        assert "NameError" in call_of(second).outputs[0].logs
        assert "The session that held the earlier variables and imports has ended" in told(
            server, COUNT
        )
        again = ask(asking, DOUBLE, {"type": "auto"}, previous_response_id=second.id)
        assert call_of(again).outputs[0].logs == "[2, 4]"
        assert asking.containers.retrieve(container_id).x_variables == "live"


def test_a_response_that_a_stop_cut_short_has_failed(settings):
    with running(directory(TalkModel(TALKS)), settings) as server:
        done = ask(client(server), MANY, {"type": "auto"}, background=True)
        server.wait_until(lambda: client(server).responses.retrieve(done.id).status == "completed")
        unfinish(server, done.id)
    with running(directory(TalkModel(TALKS)), settings) as server:
        found = client(server).responses.retrieve(done.id)
        assert found.status == "failed"
        assert found.error.message == "The server was restarted while this response was made."
        (end,) = client(server).responses.retrieve(done.id, stream=True, starting_after=7)
        assert (end.type, end.sequence_number) == ("response.failed", 8)
        assert end.response.error.message == found.error.message


def test_a_data_directory_serves_one_server(settings):
    with (
        running(directory(TalkModel(TALKS)), settings),
        pytest.raises(ConfigError, match="is in use by another server"),
    ):
        open_services(settings, directory=directory(TalkModel(TALKS)))
