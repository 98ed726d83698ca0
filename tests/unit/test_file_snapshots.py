"""Snapshots take the files of a workspace back, and copy what changed only."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.files.file_snapshots import FileSnapshots
from sandbox.files.workspace import Workspace

NAMES = ("a.txt", "b/c.txt", "b/d/e.bin")
CAP_BYTES = 1 << 20


class Folder:
    """A workspace in a directory of the test's own, and its snapshots."""

    def __init__(self, root: Path) -> None:
        self.root = root
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self.files = Workspace(fd, owner=None, bytes_cap=CAP_BYTES, files_cap=100)
        self.snapshots = FileSnapshots(self.files)

    def content(self) -> dict[str, bytes]:
        return {path: self.files.get(path) for path in self.files.listing()}

    def close(self) -> None:
        self.snapshots.close()
        self.files.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    made.close()


def test_what_was_made_changed_and_removed_is_undone(folder: Folder) -> None:
    folder.files.put("kept.txt", b"kept")
    folder.files.put("changed.txt", b"before")
    folder.files.put("deep/removed.txt", b"removed")
    before = folder.content()
    mark = folder.snapshots.take()
    folder.files.put("made.txt", b"made")
    folder.files.put("changed.txt", b"after!")
    folder.files.remove("deep/removed.txt")
    listing = folder.snapshots.restore(mark)
    assert folder.content() == before
    assert listing == folder.files.listing()


def test_a_file_that_did_not_change_is_neither_copied_nor_written_again(folder: Folder) -> None:
    folder.files.put("kept.txt", b"kept")
    first = folder.snapshots.take()
    inode = (folder.root / "kept.txt").stat().st_ino
    second = folder.snapshots.take()
    assert second.blobs == first.blobs
    folder.snapshots.restore(first)
    assert (folder.root / "kept.txt").stat().st_ino == inode


def test_snapshots_are_restored_in_any_order(folder: Folder) -> None:
    marks = []
    for number in range(3):
        folder.files.put("n.txt", str(number).encode())
        marks.append(folder.snapshots.take())
    for number in (0, 2, 1, 1):
        folder.snapshots.restore(marks[number])
        assert folder.content() == {"n.txt": str(number).encode()}


def test_links_and_pipes_are_left_as_they_are(folder: Folder) -> None:
    mark = folder.snapshots.take()
    os.symlink("/etc/passwd", folder.root / "link")
    os.mkfifo(folder.root / "pipe")
    folder.snapshots.restore(mark)
    assert sorted(os.listdir(folder.root)) == ["link", "pipe"]


def test_nothing_is_held_on_disk_before_there_is_a_file_and_after_the_end(
    folder: Folder,
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    folder.snapshots.take()
    assert len(os.listdir("/proc/self/fd")) == before
    folder.files.put("a.txt", b"a")
    folder.snapshots.take()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    folder.snapshots.close()
    folder.snapshots.close()
    assert len(os.listdir("/proc/self/fd")) == before


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.binary(max_size=20)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just(b"")),
        st.tuples(st.just("take"), st.just(""), st.just(b"")),
        st.tuples(st.just("restore"), st.just(""), st.binary(min_size=1, max_size=1)),
    ),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_steps_agrees_with_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    folder = Folder(tmp_path_factory.mktemp("files"))
    model: dict[str, bytes] = {}
    taken = []
    for step, name, data in steps:
        if step == "put":
            folder.files.put(name, data)
            model[name] = data
        elif step == "remove":
            folder.files.remove(name) if name in model else None
            model.pop(name, None)
        elif step == "take":
            taken.append((folder.snapshots.take(), dict(model)))
        elif taken:
            mark, then = taken[data[0] % len(taken)]
            folder.snapshots.restore(mark)
            model = dict(then)
        assert folder.content() == model
    folder.close()
