"""Removing and measuring trees that a guest may have made."""

import os
from pathlib import Path

import pytest

from sandbox.processes.directories import used_below
from sandbox.protocol.trees import remove_tree

DEPTH = 1500


@pytest.mark.slow
def test_a_tree_deeper_than_a_path_can_say_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(str(top))
    assert not top.exists()


def test_links_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    top = tmp_path / "top"
    (top / "a").mkdir(parents=True)
    (top / "a" / "link").symlink_to(outside)
    (top / "link").symlink_to(outside / "kept")
    os.mkfifo(top / "fifo")
    remove_tree(str(top))
    assert not top.exists()
    assert (outside / "kept").read_text() == "kept"


def test_closed_directories_are_removed_too(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("x")
    for path in (top / "a" / "b", top / "a"):
        path.chmod(0)
    remove_tree(str(top))
    assert not top.exists()


def test_nothing_is_there_to_remove(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "top").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        remove_tree(str(tmp_path / "top"))
    assert (tmp_path / "outside").is_dir()


def test_each_file_counts_with_its_blocks_and_at_least_its_share(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(10):
        (tmp_path / "a" / str(number)).touch()
    assert used_below(str(tmp_path), least_bytes=100_000) == 11 * 100_000
    (tmp_path / "big").write_bytes(b"x" * 500_000)
    assert (used_below(str(tmp_path), least_bytes=0) or 0) >= 500_000


def test_files_are_counted_at_any_depth_and_given_up_where_there_are_many(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    bottom = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(bottom, b"x" * 300_000)
    os.close(bottom)
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    assert (used_below(str(tmp_path), least_bytes=0) or 0) >= 300_000
    assert used_below(str(tmp_path), least_bytes=1000, most=601) is not None
    assert used_below(str(tmp_path), least_bytes=1000, most=600) is None
    assert len(os.listdir("/proc/self/fd")) == before
    remove_tree(str(tmp_path))
    assert used_below(str(tmp_path), least_bytes=1000) == 0
    tmp_path.mkdir()
