"""Memory limits: what a container may be given by name, within what the server's owner allows."""

from runner.errors import RequestError
from sandbox import Limits

GiB = 1024**3
MEMORY_LIMITS = {"1g": GiB, "4g": 4 * GiB, "16g": 16 * GiB, "64g": 64 * GiB}


def check_memory(name: str, allowed_bytes: int, *, param: str) -> None:
    """Refuse a limit above what is allowed; empty asks for none. Raises RequestError."""
    if name and name not in MEMORY_LIMITS:
        known = ", ".join(MEMORY_LIMITS)
        raise RequestError("invalid", f"{param} must be one of {known}.", param=param)
    if name and MEMORY_LIMITS[name] > allowed_bytes:
        message = f"{param} is {name}; this server allows {allowed_bytes} bytes."
        raise RequestError("invalid", message, param=param)


def memory_bytes(name: str, allowed_bytes: int) -> int:
    """Return what a container that asked for `name` has."""
    return min(MEMORY_LIMITS.get(name, allowed_bytes), allowed_bytes)


def memory_name(name: str, allowed_bytes: int) -> str:
    """The name that comes nearest to what a container has, not above it where there is one."""
    return name or max(
        (one for one, size in MEMORY_LIMITS.items() if size <= allowed_bytes),
        key=MEMORY_LIMITS.__getitem__,
        default="1g",
    )


def memory_limits(name: str, allowed_bytes: int) -> Limits | None:
    """Return the limits of a run in such a container; None where the policy's own hold."""
    size = memory_bytes(name, allowed_bytes)
    return Limits(memory_bytes=size) if size < allowed_bytes else None
