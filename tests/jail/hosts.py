"""Programs that use the engine from processes of their own: started, watched, killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from sandbox import Session

ROOT = Path(__file__).parent.parent.parent
ENDS_WITHIN_S = 60.0
GONE_WITHIN_S = 10.0
LOOKS_EVERY_S = 0.01


def run_host(
    script: str,
    *,
    interpreter: str = sys.executable,
    path: str = str(ROOT),
    wrapper: tuple[str, ...] = (),
) -> object:
    """What `script` prints as its last line, as JSON; it runs to its end in a fresh process."""
    done = subprocess.run(
        [*wrapper, interpreter, "-c", script],
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        cwd="/",
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def live_host(
    script: str, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[subprocess.Popen[str], object]]:
    """A host process that printed one line of JSON, and that line; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below `pid`, children of children too."""
    return psutil.Process(pid).children(recursive=True)


def below_zygotes(pid: int) -> list[psutil.Process]:
    """Every process below `pid` but the one that compiles packages ahead, which is the host's."""
    found = []
    for process in descendants(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "compile_ahead" not in " ".join(process.cmdline()):
                found.append(process)
    return found


def wait_until(holds: Callable[[], bool], what: str, within_s: float = GONE_WITHIN_S) -> None:
    """Return once `holds` is true; fail with `what` when that takes too long."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(LOOKS_EVERY_S)


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Return once none of `processes` runs any more."""
    wait_until(
        lambda: not any(map(_runs, processes)), f"still there: {[p for p in processes if _runs(p)]}"
    )


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def init_of(session: Session) -> int:
    """The host's number of a session's init."""
    live = session._session._live
    assert live is not None
    return live.worker.init.pid
