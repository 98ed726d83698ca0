"""Files in pieces, what is there, directories: on a plain directory that a foe changes."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox.errors import (
    FileIsDirectory,
    FileIsThere,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    NoRoomForFile,
    PolicyError,
)
from sandbox.files.file_streams import PIECE_BYTES, pieces_of
from sandbox.files.workspace import Workspace

BYTES_CAP = 1000
FILES_CAP = 20


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    path = tmp_path / "inside"
    path.mkdir()
    (tmp_path / "secret").write_text("secret")
    return path


@pytest.fixture
def files(inside: Path) -> Iterator[Workspace]:
    fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    opened = Workspace(fd, owner=None, bytes_cap=BYTES_CAP, files_cap=FILES_CAP)
    yield opened
    opened.close()


def write(files: Workspace, path: str, *pieces: bytes) -> None:
    writer = files.begin(path)
    try:
        for piece in pieces:
            writer.write(piece)
        writer.finish()
    finally:
        writer.abandon()


@pytest.fixture(params=["nameless", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the file system makes files without a name; if not, they have one meanwhile."""
    kind: str = request.param
    if kind == "named":
        whole = os.open

        def refusing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return whole(path, flags, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "open", refusing)
    return kind


def test_a_file_is_in_place_when_it_is_complete_and_not_before(
    files: Workspace, inside: Path, kind: str
) -> None:
    (inside / "a").write_text("before")
    before = os.listdir("/proc/self/fd")
    writer = files.begin("a")
    writer.write(b"one ")
    assert (inside / "a").read_text() == "before"
    assert len(os.listdir(inside)) == (1 if kind == "nameless" else 2)
    writer.write(b"two")
    writer.finish()
    writer.abandon()
    assert (inside / "a").read_text() == "one two"
    assert os.listdir(inside) == ["a"]
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_breaks_off_leaves_what_was_there(
    files: Workspace, inside: Path, kind: str
) -> None:
    (inside / "a").write_text("before")
    writer = files.begin("a")
    writer.write(b"half")
    writer.abandon()
    writer.abandon()
    assert (inside / "a").read_text() == "before"
    assert os.listdir(inside) == ["a"]


def test_a_stream_takes_the_place_of_a_link_and_a_pipe_and_follows_neither(
    files: Workspace, inside: Path, kind: str
) -> None:
    (inside / "link").symlink_to("../secret")
    os.mkfifo(inside / "fifo")
    for path in ("link", "fifo"):
        write(files, path, b"new")
        assert files.get(path) == b"new"
    assert (inside.parent / "secret").read_text() == "secret"


def test_a_stream_below_a_link_or_over_a_directory_is_refused(
    files: Workspace, inside: Path, kind: str
) -> None:
    (inside / "out").symlink_to("..")
    (inside / "folder" / "in").mkdir(parents=True)
    with pytest.raises(FileRefused):
        write(files, "out/new", b"x")
    with pytest.raises(FileIsDirectory):
        write(files, "folder", b"x")
    assert sorted(os.listdir(inside.parent)) == ["inside", "secret"]
    assert sorted(os.listdir(inside)) == ["folder", "out"]


def test_a_part_that_a_foe_swaps_for_a_link_writes_nothing_outside(
    files: Workspace, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.rename

    def swapped(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.unlink(inside / source)
        (inside / source).symlink_to("../secret")
        whole(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", swapped)
    write(files, "a", b"x")
    assert (inside.parent / "secret").read_text() == "secret"
    with pytest.raises(FileRefused):
        files.get("a")


def test_a_stream_ends_at_the_room_that_there_is(files: Workspace, inside: Path) -> None:
    with pytest.raises(NoRoomForFile):
        write(files, "a", b"x" * 600, b"x" * 401)
    writer = files.begin("a", 5)
    with pytest.raises(NoRoomForFile, match="the 5 bytes"):
        writer.write(b"123456")
    writer.abandon()
    assert os.listdir(inside) == []
    write(files, "a", b"x" * BYTES_CAP)
    assert files.stat("a").size_bytes == BYTES_CAP


def test_a_full_disk_is_told_as_such(files: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    writer = files.begin("a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(NoRoomForFile, match="full"):
            writer.write(b"x")
    writer.abandon()
    assert files.listing() == {}


def test_a_reader_gives_what_was_there_when_it_was_opened(files: Workspace, inside: Path) -> None:
    files.put("a", b"abcdef")
    reader = files.open("a")
    files.put("a", b"other")
    assert (reader.read(4), reader.read(4), reader.read(4)) == (b"abcd", b"ef", b"")
    reader.close()
    reader.close()
    reader = files.open("a")
    os.truncate(inside / "a", 10**9)
    assert len(reader.read(600)) == 600
    with pytest.raises(FileRefused, match="larger than"):
        reader.read(600)
    reader.close()


REASONS = (
    ("missing", FileNotThere),
    ("missing/a", FileNotThere),
    ("folder", FileIsDirectory),
    (".", FileIsDirectory),
    ("file/a", FileNotDirectory),
    ("../secret", FileNotPermitted),
    ("/etc/passwd", FileNotPermitted),
    ("link", FileRefused),
    ("fifo", FileRefused),
    ("", FileRefused),
    ("a\0b", FileRefused),
    ("\ud800", FileRefused),
)


@pytest.mark.parametrize(("path", "reason"), REASONS, ids=[repr(path) for path, _ in REASONS])
def test_a_refusal_tells_its_reason_by_its_type(
    files: Workspace, inside: Path, path: str, reason: type[FileRefused]
) -> None:
    (inside / "folder").mkdir()
    (inside / "file").touch()
    (inside / "link").symlink_to("../secret")
    os.mkfifo(inside / "fifo")
    for use in (files.get, files.open):
        with pytest.raises(FileRefused) as caught:
            use(path)
        assert type(caught.value) is reason
        assert caught.value.of("x").path == "x"
        assert type(caught.value.of("x")) is reason


def test_a_look_says_what_is_there_and_follows_no_link(files: Workspace, inside: Path) -> None:
    (inside / "folder").mkdir(mode=0o700)
    (inside / "link").symlink_to("../secret")
    os.mkfifo(inside / "fifo")
    (inside / "file").write_text("four")
    os.chmod(inside / "file", 0o640)
    os.utime(inside / "file", (1000, 1000))
    found = files.stat("file")
    assert (found.kind, found.size_bytes, found.mode, found.modified_at) == ("file", 4, 0o640, 1000)
    assert files.stat(".").kind == "directory"
    kinds = {one.path: one.kind for one in files.entries(".")}
    assert kinds == {"fifo": "other", "file": "file", "folder": "directory", "link": "link"}
    assert {path: files.stat(path).kind for path in kinds} == kinds
    with pytest.raises(FileNotThere):
        files.stat("missing")
    with pytest.raises(FileRefused):
        files.stat("link/a")
    with pytest.raises(FileRefused):
        files.entries("link")
    with pytest.raises(FileNotDirectory):
        files.entries("file")


def test_a_directory_is_listed_within_bounds(files: Workspace, inside: Path) -> None:
    for number in range(3 * FILES_CAP):
        (inside / str(number)).touch()
    assert len(files.entries(".")) == FILES_CAP + 1


def test_directories_are_made_and_nothing_is_made_outside(files: Workspace, inside: Path) -> None:
    files.mkdir("a/b/c")
    files.mkdir("a/b")
    files.mkdir(".")
    with pytest.raises(FileIsThere):
        files.mkdir("a/b", exist_ok=False)
    files.mkdir("a/d/e", exist_ok=False)
    assert (inside / "a" / "d" / "e").is_dir()
    (inside / "file").touch()
    (inside / "out").symlink_to("..")
    with pytest.raises(FileIsThere):
        files.mkdir("file")
    with pytest.raises(FileNotDirectory):
        files.mkdir("file/a")
    for path in ("out/new", "../new", "/new"):
        with pytest.raises(FileRefused):
            files.mkdir(path)
    assert sorted(os.listdir(inside.parent)) == ["inside", "secret"]


def test_a_tree_is_removed_when_that_is_asked_for_and_links_are_not_followed(
    files: Workspace, inside: Path
) -> None:
    outside = inside.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    files.put("a/b/c", b"x")
    (inside / "a" / "b" / "out").symlink_to(outside)
    with pytest.raises(FileIsDirectory):
        files.remove("a")
    files.remove("a", recursive=True)
    files.remove("a", recursive=True)
    files.remove("missing/below", recursive=True)
    (inside / "out").symlink_to(outside)
    with pytest.raises(FileRefused):
        files.remove("out/kept", recursive=True)
    files.remove("out", recursive=True)
    assert os.listdir(inside) == []
    assert os.listdir(outside) == ["kept"]


def test_removing_a_tree_ends_although_a_foe_fills_it_again(
    files: Workspace, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put("a/0", b"")
    numbers = iter(range(1, 10**6))
    whole = os.unlink

    def refilling(name: str, *, dir_fd: int) -> None:
        whole(name, dir_fd=dir_fd)
        os.close(os.open(str(next(numbers)), os.O_CREAT | os.O_WRONLY, dir_fd=dir_fd))

    monkeypatch.setattr(os, "unlink", refilling)
    with pytest.raises(FileIsDirectory, match="not empty"):
        files.remove("a", recursive=True)
    assert next(numbers) < 4 * FILES_CAP


def test_a_tree_that_is_deeper_than_a_path_can_be_is_removed(
    files: Workspace, inside: Path
) -> None:
    os.mkdir(inside / "deep")
    fd = os.open(inside / "deep", os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=fd)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    Workspace(os.open(inside, os.O_RDONLY), owner=None, bytes_cap=BYTES_CAP, files_cap=1000).remove(
        "deep", recursive=True
    )
    assert os.listdir(inside) == []


async def gathered(source: object) -> list[bytes]:
    return [piece async for piece in pieces_of(source)]  # type: ignore[arg-type]


async def test_a_source_is_a_file_or_an_iterable_of_either_kind() -> None:
    async def later() -> AsyncIterator[bytes]:
        for piece in (b"a", b"", b"bc"):
            await asyncio.sleep(0)
            yield piece

    large = bytes(PIECE_BYTES + 1)
    assert await gathered(later()) == [b"a", b"bc"]
    assert await gathered(io.BytesIO(large)) == [large[:-1], large[-1:]]
    assert await gathered([b"a", bytearray(b"b"), memoryview(b"c")]) == [b"a", b"b", b"c"]
    assert await gathered([large]) == [large[:-1], large[-1:]]
    for wrong in (io.StringIO("text"), ["text"], 7, [7]):
        with pytest.raises(PolicyError):
            await gathered(wrong)
