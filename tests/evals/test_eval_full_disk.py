"""A full disk at the output ends a run with the file's name, and costs nothing that was graded."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = 24
# Each failing verdict takes about this much of the results: the message is that long.
LOUD = "def inc(x): raise ValueError('x' * 3000)"
SMALL = 64 * 1024


class Disk(NamedTuple):
    """A place that is soon full, and how to make it larger."""

    folder: Path
    file_bytes: int | None
    """What a process that writes there may write into one file, where that is the limit."""
    grow: Callable[[], None]


def _mount(folder: Path, *options: str) -> bool:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs of its own where that can be mounted; a limit on the size of files anywhere."""
    folder = tmp_path / "small"
    folder.mkdir()
    tmpfs = ("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    if request.param == "file system" and os.getuid() == 0 and _mount(folder, *tmpfs):
        try:
            yield Disk(folder, None, lambda: _grow(folder))
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        yield Disk(folder, SMALL, lambda: None)


def _grow(folder: Path) -> None:
    assert _mount(folder, "-o", f"remount,size={64 * SMALL}")


def run(tmp_path: Path, disk: Disk, *more: str, file_bytes: int | None) -> tuple[int, str]:
    """Exit status and stderr of the command, whose files may be so large."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    done = subprocess.run(
        [sys.executable, "-m", "runner", "eval", "custom", str(tmp_path / "samples.jsonl"),
         "--data", str(tmp_path / "tasks.jsonl"), "--out", str(disk.folder / "out.jsonl"), *more],
        capture_output=True, text=True, check=False, cwd=ROOT, preexec_fn=limit, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_full_disk_is_told_and_the_run_goes_on_after_it(tmp_path: Path, disk: Disk) -> None:
    task = {"task_id": "inc", "test": "assert inc(1) == 2"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    sample = {"task_id": "inc", "solution": LOUD}
    (tmp_path / "samples.jsonl").write_text((json.dumps(sample) + "\n") * SAMPLES)
    part, out = disk.folder / "out.jsonl.part", disk.folder / "out.jsonl"

    status, said = run(tmp_path, disk, file_bytes=disk.file_bytes)
    assert status == 74
    assert str(part) in said
    assert "--resume" in said
    kept = [json.loads(line) for line in part.read_text().splitlines()]
    assert 0 < len(kept) < SAMPLES
    assert f"{len(kept)} results are safe" in said
    assert {row["outcome"] for row in kept} == {"failed"}
    assert not out.exists()

    disk.grow()
    status, said = run(tmp_path, disk, "--resume", file_bytes=None)
    assert status == 0, said
    assert len(out.read_text().splitlines()) == SAMPLES
    assert not part.exists()
