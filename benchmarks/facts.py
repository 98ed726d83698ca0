"""What a saved run says about the machine and the versions that it was measured with."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("cellblock", "numpy", "pandas", "pydantic", "psutil", "ipykernel", "jupyter_client")
FILES = {
    "thp": "/sys/kernel/mm/transparent_hugepage/enabled",
    "load_average": "/proc/loadavg",
}


def facts() -> dict[str, str]:
    """Versions, processor, memory, load and the checked-out commit, as text."""
    found = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": _row_of("/proc/cpuinfo", "model name"),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": _row_of("/proc/meminfo", "MemTotal"),
        "user": "root" if os.geteuid() == 0 else "plain",
        "commit": _commit(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    for name, path in FILES.items():
        found[name] = _content(path)
    return found


def _row_of(path: str, key: str) -> str:
    for line in _content(path).splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _content(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def _commit() -> str:
    """The commit of the checkout, with a plus if files differ from it."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
