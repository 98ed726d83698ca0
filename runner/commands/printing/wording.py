"""What became of a snippet, in words for a user: limits, state, amounts. Guest text is escaped."""

from runner.terminal import one_line
from sandbox import Completed, Died, LimitExceeded, Outcome, Raised, Refused

KIB = 1024
BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB")

LIMIT_WORDS = {  # limit        what to call its end
    "wall_s": "out of time",
    "cpu_s": "out of CPU time",
    "memory_bytes": "out of memory",
    "output_bytes": "too much output",
    "processes": "too many processes",
    "disk_bytes": "out of disk space",
}
STATE_WORDS = {
    "kept": "variables are as the snippet left them",
    "rolled_back": "variables are as they were before the snippet",
    "lost": "variables and files are gone",
}


def ending(outcome: Outcome) -> str:
    """Return how the snippet ended, as the rest of a sentence about it."""
    match outcome:
        case Completed():
            return "completed"
        case Raised():
            return f"raised {one_line(outcome.error.type)}"
        case LimitExceeded():
            allowed = amount(outcome.limit, outcome.allowed)
            observed = amount(outcome.limit, outcome.observed)
            words = LIMIT_WORDS[outcome.limit]
            if outcome.limit == "memory_bytes" and outcome.observed < outcome.allowed:
                return (
                    f"stopped: {words} (an allocation did not fit beside {observed} in use,"
                    f" memory_bytes allows {allowed})"
                )
            return f"stopped: {words} ({outcome.limit} {observed}, allowed {allowed})"
        case Died():
            how = outcome.signal or f"exit status {outcome.exit_code}"
            return f"died by {how}" if outcome.signal else f"died with {how}"
        case Refused():
            line = f"line {outcome.line}: " if outcome.line else ""
            return f"refused, nothing ran: {line}{one_line(outcome.reason)}"


def state(outcome: Outcome) -> str:
    """Return what became of the session's variables."""
    if outcome.state == "lost" and outcome.files_left:
        return "variables are gone, files are still there"
    return STATE_WORDS[outcome.state]


def bill(outcome: Outcome) -> str:
    """Return what the snippet spent."""
    used = outcome.usage
    network = f", {used.requests} requests, {size(used.sent_bytes)} sent" if used.requests else ""
    count = "1 process" if used.processes == 1 else f"{used.processes} processes"
    return (
        f"{used.wall_s:.3f} s, CPU {used.cpu_user_s:.3f} s + {used.cpu_system_s:.3f} s in the"
        f" kernel, at most {size(used.peak_memory_bytes)} in {count},"
        f" {size(used.written_bytes)} written, started in {used.start_s * 1000:.1f} ms{network}"
    )


def amount(limit: str, value: float) -> str:
    """`value` in the unit of `limit`."""
    if limit.endswith("_bytes"):
        return size(value)
    if limit.endswith("_s"):
        return f"{value:.3g} s"
    return f"{value:.0f}"


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    if count < KIB:
        return f"{count:.0f} B"
    for unit in BYTE_UNITS:
        count /= KIB
        if count < KIB or unit == BYTE_UNITS[-1]:
            break
    return f"{count:.1f}".removesuffix(".0") + f" {unit}"
