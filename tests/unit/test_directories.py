"""Directories of the engine's own: held while they are used, swept when none does."""

import os
import tempfile
from pathlib import Path

import pytest

from sandbox.processes.directories import PREFIX, OwnDirectory, sweep
from sandbox.protocol.trees import hold


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_directory_is_there_until_it_is_removed(folder: Path) -> None:
    own = OwnDirectory()
    (Path(own.path) / "1").mkdir()
    assert os.stat(own.path).st_mode & 0o777 == 0o711
    own.remove()
    own.remove()
    assert list(folder.iterdir()) == []


def test_a_directory_in_use_is_not_swept() -> None:
    own = OwnDirectory()
    assert sweep() == 0
    held = hold(own.path)
    own.close_in_child()
    assert sweep() == 0, "its launcher lives"
    os.close(held)
    assert sweep() == 1
    assert not os.path.exists(own.path)
    assert hold(own.path) == -1


def test_only_what_the_engine_made_is_swept(folder: Path) -> None:
    for name in ("cellblock-chat-abc", "mine"):
        (folder / name).mkdir()
    (folder / f"{PREFIX}file").write_text("")
    (folder / f"{PREFIX}link").symlink_to("mine")
    before = sorted(folder.iterdir())
    assert sweep() == 0
    assert sorted(folder.iterdir()) == before


def test_what_is_left_is_removed_with_all_that_is_in_it(folder: Path) -> None:
    own = OwnDirectory()
    deep = Path(own.path, "1", "workspace", *("d" * 40 for _ in range(20)))
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    deep.chmod(0)
    own.close_in_child()
    assert sweep() == 1
    assert list(folder.iterdir()) == []


def test_another_start_may_sweep_a_directory_before_it_is_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    swept: list[str] = []

    def make_late(prefix: str, dir: str | None) -> str:
        path = make(prefix=prefix, dir=dir)
        if not swept:
            swept.append(sweep())
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", make_late)
    own = OwnDirectory()
    assert swept == [1]
    assert os.stat(own.path).st_mode & 0o777 == 0o711
    assert list(folder.iterdir()) == [Path(own.path)]
    own.remove()
