"""The shape of a tree: what of it is taken, and what of it is put on again."""

import errno
import os
from pathlib import Path

import pytest

from sandbox.files import tree_shapes


def entries(root: Path) -> list[tuple[str, os.stat_result]]:
    found = sorted(root.rglob("*"))
    return [(str(path.relative_to(root)), path.lstat()) for path in found]


def open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def test_a_shape_comes_back_as_it_was(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "empty").mkdir(parents=True)
    (source / "file").write_text("x")
    (source / "file").chmod(0o750)
    os.utime(source / "file", (10, 10))
    (source / "link").symlink_to("/nowhere")
    target.mkdir()
    fd = open_directory(source)
    shape = tree_shapes.shape_of(fd, entries(source), 1000)
    os.close(fd)
    fd = open_directory(target)
    tree_shapes.make_skeleton(fd, shape)
    (target / "file").write_text("x")
    tree_shapes.put_on(fd, shape)
    os.close(fd)
    status = (target / "file").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o750, 10)
    assert (target / "link").readlink() == Path("/nowhere")
    assert (target / "empty").is_dir()


def test_what_is_mounted_in_a_tree_is_no_part_of_it(tmp_path: Path) -> None:
    fd = open_directory(tmp_path)
    shape = tree_shapes.shape_of(fd, [("mounted", os.lstat("/proc"))], 1000)
    os.close(fd)
    assert shape == tree_shapes.Shape({}, {}, {})


def test_a_directory_is_not_made_where_something_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tree_shapes.open_made

    def open_made(root_fd: int, parts: list[str]) -> int:
        if parts == ["mounted"]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return made(root_fd, parts)

    monkeypatch.setattr(tree_shapes, "open_made", open_made)
    fd = open_directory(tmp_path)
    tree_shapes.make_skeleton(fd, tree_shapes.Shape({"mounted": 0o755, "own": 0o755}, {}, {}))
    os.close(fd)
    assert os.listdir(tmp_path) == ["own"]


def test_targets_of_links_are_bounded(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).symlink_to("x" * 40)
    fd = open_directory(tmp_path)
    shape = tree_shapes.shape_of(fd, entries(tmp_path), 100)
    os.close(fd)
    assert sorted(shape.links) == ["a", "b"]
