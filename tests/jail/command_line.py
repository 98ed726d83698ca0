"""Starts the commands as a user does: a real process in a directory, and its output."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "runner")
ENDS_WITHIN_S = 60.0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"}


def cellblock(
    directory: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )


def run(
    directory: Path, code: str, *options: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return cellblock(directory, "run", *options, "-c", code, stdin=stdin)
