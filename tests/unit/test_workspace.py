"""The workspace's reader and writer over a plain directory: names, types, bounds, races."""

import errno
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import FileRefused
from sandbox.files import beneath, workspace
from sandbox.files.workspace import Workspace, changes
from sandbox.processes.directories import used_below

BYTES_CAP = 1000
FILES_CAP = 20


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Workspace]:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    workspace = Workspace(
        os.open(inside, os.O_RDONLY | os.O_DIRECTORY),
        owner=None,
        bytes_cap=BYTES_CAP,
        files_cap=FILES_CAP,
    )
    yield workspace
    workspace.close()


@pytest.fixture
def inside(tmp_path: Path, files: Workspace) -> Path:
    return tmp_path / "inside"


def test_what_was_put_is_got_and_listed(files: Workspace) -> None:
    files.put("a.txt", b"a")
    files.put("deep/er/b.bin", b"\0\xff")
    files.put("/mnt/data/c", b"c")
    files.put("/workspace/./d", b"d")
    assert list(files.listing()) == ["a.txt", "c", "d", "deep/er/b.bin"]
    assert files.get("deep/er/b.bin") == b"\0\xff"
    assert files.get("/mnt/data/deep/er/b.bin") == b"\0\xff"


def test_a_put_into_a_directory_that_comes_and_goes_holds_no_descriptor(
    files: Workspace, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "made").mkdir()
    (inside / "file").write_text("")
    monkeypatch.setattr(beneath, "exists", lambda _name, _fd: False)
    before = os.listdir("/proc/self/fd")
    files.put("made/meanwhile", b"x")
    with pytest.raises(FileRefused, match="no directory"):
        files.put("file/below", b"x")
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(FileRefused):
        files.put("new/below", b"x")
    assert os.listdir("/proc/self/fd") == before
    assert files.get("made/meanwhile") == b"x"


def refuse(_path: str, _mode: int, *, dir_fd: int) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_file_that_goes_while_space_is_counted_hides_no_other(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (inside / name).write_text(name)
    listed = os.scandir

    @contextmanager
    def racing(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with listed(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            (inside / "a").unlink()
            yield found

    monkeypatch.setattr(os, "scandir", racing)
    assert used_below(str(inside), least_bytes=10_000) == 20_000


@pytest.mark.parametrize(
    "path", ["", "/", ".", "..", "../secret", "a/../../secret", "/etc/passwd", "a\0b", "x/" * 65]
)
def test_a_path_out_of_the_workspace_is_refused(files: Workspace, path: str) -> None:
    for use in (lambda: files.get(path), lambda: files.put(path, b""), lambda: files.remove(path)):
        with pytest.raises(FileRefused):
            use()


def test_links_are_followed_nowhere(files: Workspace, inside: Path) -> None:
    (inside / "link").symlink_to("../secret")
    (inside / "folder").symlink_to("..")
    for path in ("link", "folder/secret"):
        with pytest.raises(FileRefused):
            files.get(path)
    with pytest.raises(FileRefused):
        files.put("folder/new", b"x")
    assert list(files.listing()) == []
    assert not (inside.parent / "new").exists()


def test_what_is_no_regular_file_is_refused_and_not_listed(files: Workspace, inside: Path) -> None:
    os.mkfifo(inside / "fifo")
    (inside / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(inside)
        server.bind("socket")
        os.chdir(here)
    for path, reason in (("fifo", "FIFO"), ("folder", "directory"), ("socket", "socket")):
        with pytest.raises(FileRefused, match=reason):
            files.get(path)
    assert list(files.listing()) == []


def test_a_put_replaces_what_stands_in_its_place_and_follows_no_link(
    files: Workspace, inside: Path
) -> None:
    (inside / "link").symlink_to("../secret")
    os.mkfifo(inside / "fifo")
    for path in ("link", "fifo"):
        files.put(path, b"new")
        assert files.get(path) == b"new"
    assert (inside.parent / "secret").read_text() == "secret"


def test_sizes_are_bounded_both_ways(files: Workspace, inside: Path) -> None:
    files.put("full", b"x" * BYTES_CAP)
    assert len(files.get("full")) == BYTES_CAP
    with pytest.raises(FileRefused, match="exceed workspace_bytes"):
        files.put("more", b"x" * (BYTES_CAP + 1))
    os.truncate(inside / "full", 10**12)
    with pytest.raises(FileRefused, match="larger than"):
        files.get("full")
    artifact = files.describe("full", "changed")
    assert artifact is not None
    assert (artifact.size_bytes, artifact.sha256) == (10**12, None)


def test_a_listing_ends_at_the_bound_of_files(files: Workspace, inside: Path) -> None:
    for number in range(3 * FILES_CAP):
        (inside / str(number)).touch()
    assert len(files.listing()) == FILES_CAP + 1


def test_remove_takes_a_file_or_a_link_and_nothing_else(files: Workspace, inside: Path) -> None:
    files.put("a", b"a")
    (inside / "link").symlink_to("../secret")
    files.remove("a")
    files.remove("link")
    files.remove("missing")
    assert os.listdir(inside) == []
    assert (inside.parent / "secret").exists()


def test_an_artifact_describes_the_bytes_that_are_there(files: Workspace) -> None:
    files.put("table.csv", b"a,b\n")
    artifact = files.describe("table.csv", "made")
    assert artifact is not None
    assert (artifact.mime, artifact.size_bytes, artifact.change) == ("text/csv", 4, "made")
    assert artifact.sha256 == hashlib.sha256(b"a,b\n").hexdigest()
    assert files.describe("missing", "made") is None


def test_changes_name_what_was_made_changed_and_deleted(files: Workspace, inside: Path) -> None:
    for name in ("kept", "changed", "gone"):
        files.put(name, b"1")
    before = files.listing()
    files.put("made", b"1")
    (inside / "changed").write_bytes(b"2")
    os.utime(inside / "changed", (0, 0))
    files.remove("gone")
    assert changes(before, files.listing()) == {
        "changed": "changed",
        "gone": "deleted",
        "made": "made",
    }
    assert changes(before, before) == {}


def test_a_closed_workspace_holds_no_descriptor(files: Workspace) -> None:
    files.put("a", b"a")
    files.close()
    files.close()
    with pytest.raises((FileRefused, OSError)):
        files.get("a")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), data=st.binary(max_size=20)
)
def test_any_name_is_refused_or_stays_inside(
    files: Workspace, inside: Path, path: str, data: bytes
) -> None:
    try:
        files.put(path, data)
    except FileRefused:
        return
    assert files.get(path) == data
    assert sorted(os.listdir(inside.parent)) == ["inside", "secret"]
    assert (inside.parent / "secret").read_text() == "secret"
    files.remove(path)


def test_a_directory_with_nothing_to_list_is_listed_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    files = Workspace(os.open(tmp_path, os.O_RDONLY), owner=None, bytes_cap=1 << 20, files_cap=100)
    long_ago = time.time_ns() + 10 * workspace.CLOCK_TICK_NS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace.time, "time_ns", lambda: long_ago)
        assert files.listing(lambda name: name == "home") == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "_walk", lambda *_arguments: pytest.fail("it was walked again"))
        assert files.listing(lambda name: name == "home") == {}
    time.sleep(0.02)
    (tmp_path / "a.txt").write_text("a")
    assert list(files.listing(lambda name: name == "home")) == ["a.txt"]
    (tmp_path / "a.txt").write_text("ab")
    assert files.listing(lambda name: name == "home")["a.txt"].size_bytes == 2
    files.close()


def test_a_name_added_in_the_tick_in_which_it_was_bare_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Workspace(os.open(tmp_path, os.O_RDONLY), owner=None, bytes_cap=1 << 20, files_cap=100)
    now = os.stat(tmp_path).st_ctime_ns
    count = 2
    monkeypatch.setattr(workspace.time, "time_ns", lambda: now)
    monkeypatch.setattr(Workspace, "_count", lambda _self: count)
    files.note_bare()
    walked: list[int] = []

    def walk(*_arguments: object) -> list[object]:
        walked.append(1)
        return []

    monkeypatch.setattr(Workspace, "_walk", walk)
    assert files.listing() == {}
    assert walked == []
    count = 3  # The directory tells the same time as before.
    assert files.listing() == {}
    assert walked == [1]
    files.close()


def test_what_is_added_to_the_directory_inside_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    files = Workspace(
        os.open(tmp_path, os.O_RDONLY), owner=None, bytes_cap=1 << 20, files_cap=100, inner="home"
    )
    files.note_bare()
    time.sleep(0.02)
    assert files.listing() == {}
    (tmp_path / "home" / "a.txt").write_text("a")
    assert list(files.listing()) == ["home/a.txt"]
    os.remove(tmp_path / "home" / "a.txt")
    assert files.listing() == {}
    os.rmdir(tmp_path / "home")
    (tmp_path / "home").write_text("a file now")
    assert list(files.listing()) == list(files.listing()) == ["home"]
    files.close()
