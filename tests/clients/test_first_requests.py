"""A door's first request makes no other client wait: its imports are there, or in a thread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SMALL = ("importlib.readers", "importlib.resources")
"""What reading the page's files imports of the standard library, in under a millisecond."""


@pytest.mark.slow
def test_no_door_imports_on_the_event_loop():
    folders = (HERE, HERE.parent / "unit" / "runner", HERE.parents[1])
    paths = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, str(HERE / "first_requests.py")],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    late = {
        door: names
        for door, seen in found.items()
        if (names := [name for name in seen if not name.startswith(SMALL)])
    }
    assert len(found) > 20
    assert not late
