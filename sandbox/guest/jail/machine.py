"""The machine as a session's programs see it: its limits, not what the host has.

A session's /proc shows processes alone. Programs such as `free`, `ps`, `lscpu`, psutil, joblib and
torch read a few more files of it and of /sys; they fail without them. These are written once for
all sessions of a zygote, and hold nothing of the host but its processor's name and abilities,
which any program can ask the processor for, and the time of its boot, which is in the clock.
"""

import os
import time

from sandbox.guest.kernel import sysapi
from sandbox.protocol.plan import JailPlan

PROC_FILES = "/etc/cellblock/proc"
"""Where the files for /proc lie in the root."""
WHOLE_PROC = "/run/proc"
"""A second view of the session's processes, with nothing over it: without one the kernel lets no
branch mount its own (mount_too_revealing in fs/namespace.c)."""
HIDES_PROCESSES = ("hidepid", "invisible")
CPU_FILES = "/sys/devices/system/cpu"
CPUINFO_LEFT_OUT = ("microcode", "bugs", "bogomips", "cpu mhz")
"""What tells about the host's upkeep and load."""
STAT_COLUMNS = 10


def proc_files(plan: JailPlan) -> dict[str, str]:
    """The text of each file for /proc, by name."""
    cpus = sorted(os.sched_getaffinity(0))
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return {
        "meminfo": _meminfo(plan.memory_bytes),
        "cpuinfo": _cpuinfo(cpus),
        "stat": _stat(cpus, int(time.time() - since_boot)),
        "uptime": f"{since_boot:.2f} 0.00\n",
        "loadavg": "0.00 0.00 0.00 1/1 1\n",
        "vmstat": "nr_free_pages 0\npswpin 0\npswpout 0\n",
        "filesystems": "nodev\ttmpfs\nnodev\tproc\n",
    }


def mount_for_init(attributes: int) -> int:
    """Mount what an init needs: a listing, whose descriptor this is, and `WHOLE_PROC`."""
    listing = sysapi.new_filesystem("proc", [("subset", "pid")], attributes)
    # For init alone: /proc is mounted over it. To close it unattached would take 2.5 ms.
    listing_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=listing)
    sysapi.attach_mount(listing, "/proc")
    os.close(listing)
    whole = sysapi.new_filesystem("proc", [HIDES_PROCESSES, ("subset", "pid")], attributes)
    sysapi.attach_mount(whole, WHOLE_PROC)
    os.close(whole)
    return listing_fd


def mount_for_guest(attributes: int) -> None:
    """Mount the /proc that programs see: processes, and the files of `proc_files`.

    Those are put over the kernel's own while these can be seen. From then on a name that is no
    process is found only where something lies over it.
    """
    own = sysapi.new_filesystem("proc", [HIDES_PROCESSES], attributes)
    sysapi.attach_mount(own, "/proc")
    for name in os.listdir(PROC_FILES):
        file = sysapi.clone_tree(f"{PROC_FILES}/{name}")
        sysapi.attach_mount(file, f"/proc/{name}")
        os.close(file)
    sysapi.change_filesystem(own, [("subset", "pid")])
    os.close(own)


def cpu_files() -> dict[str, str]:
    """The text of each file of `CPU_FILES`, by name."""
    text = _ranges(sorted(os.sched_getaffinity(0))) + "\n"
    return dict.fromkeys(("online", "possible", "present"), text)


def _meminfo(memory_bytes: int) -> str:
    total = memory_bytes // 1024
    rows = {"MemTotal": total, "MemFree": total, "MemAvailable": total}
    rows |= dict.fromkeys(("Buffers", "Cached", "SwapCached", "Active", "Inactive"), 0)
    rows |= dict.fromkeys(("SwapTotal", "SwapFree", "Dirty", "Shmem", "Slab", "SReclaimable"), 0)
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in rows.items())


def _cpuinfo(cpus: list[int]) -> str:
    """The host's blocks of these processors, less what `CPUINFO_LEFT_OUT` names."""
    with open("/proc/cpuinfo", errors="replace") as stream:
        blocks = stream.read().strip().split("\n\n")
    kept = []
    for block in blocks:
        lines = [
            line
            for line in block.splitlines()
            if line.partition(":")[0].strip().lower() not in CPUINFO_LEFT_OUT
        ]
        number = lines[0].partition(":")[2].strip() if lines else ""
        if number.isdecimal() and int(number) in cpus:
            kept.append("\n".join(lines))
    return "\n\n".join(kept) + "\n\n"


def _stat(cpus: list[int], boot_time: int) -> str:
    zeros = " ".join("0" * STAT_COLUMNS)
    rows = [f"cpu  {zeros}", *(f"cpu{number} {zeros}" for number in cpus)]
    rows += ["intr 0", "ctxt 0", f"btime {boot_time}", "processes 1"]
    rows += ["procs_running 1", "procs_blocked 0", "softirq 0"]
    return "\n".join(rows) + "\n"


def _ranges(numbers: list[int]) -> str:
    """As the kernel writes lists of processors: `0-3,6`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
