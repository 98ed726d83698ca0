"""Computes the resource limits of a session; setrlimit(2)."""

import resource

from sandbox.protocol.plan import JailPlan

SIGNALS_QUEUED = 256
BRANCHES_COUNTED = 16
LOCKED_BYTES = 64 * 1024


def limits_of(plan: JailPlan, data_bytes: int) -> tuple[tuple[int, tuple[int, int]], ...]:
    """What a session is given: soft and hard alike, and never above what this process has."""
    limits = plan.rlimits
    values = {
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_STACK: limits.stack_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: LOCKED_BYTES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: SIGNALS_QUEUED,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    if limits.processes is not None:
        # The kernel counts branches to their origin too. Cgroups count each by itself.
        share = BRANCHES_COUNTED if plan.has_groups else 1
        values[resource.RLIMIT_NPROC] = limits.processes * share
    if limits.data_bytes is not None:
        values[resource.RLIMIT_DATA] = data_bytes + limits.data_bytes
    return tuple((which, (capped, capped)) for which, capped in map(_capped, values.items()))


def _capped(limit: tuple[int, int]) -> tuple[int, int]:
    which, value = limit
    _soft, hard = resource.getrlimit(which)
    return which, value if hard == resource.RLIM_INFINITY else min(value, hard)
