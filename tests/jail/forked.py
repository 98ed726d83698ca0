"""Bodies that run in a forked child, where what they confine ends with it."""

import ctypes
import json
import os
import signal
import traceback
from collections.abc import Callable
from typing import NamedTuple

from sandbox.guest.kernel import sysapi
from sandbox.guest.kernel.syscalls import NUMBERS

DEADLINE_S = 20
"""A child that hangs is ended by its own SIGALRM; no body takes a tenth of this."""
CRASHED = 70

Report = dict[str, int] | list[int] | list[str] | int | str | None
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Ended(NamedTuple):
    """How a child ended: what its body returned, or the signal that killed it."""

    said: Report
    signal: int


def run(body: Callable[[], Report]) -> Ended:
    """Run `body` in a fork of this process and wait for its end. A body that raises fails."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        _serve(body, writable)
    os.close(writable)
    with open(readable, "rb") as stream:
        said = stream.read()
    _pid, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Ended(None, os.WTERMSIG(status))
    assert os.waitstatus_to_exitcode(status) == 0, said.decode()
    return Ended(json.loads(said), 0)


def _serve(body: Callable[[], Report], writable: int) -> None:
    code = CRASHED
    try:
        sysapi.prctl(sysapi.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
        said = json.dumps(body())
        code = 0
    except BaseException:  # noqa: BLE001  (the parent fails with this text)
        said = traceback.format_exc()
    try:
        while said:
            said = said[os.write(writable, said.encode()) :]
    finally:
        os._exit(code)


def errno_of(action: Callable[..., object], *arguments: object) -> int:
    """The errno with which `action` fails; 0 if it does not."""
    try:
        action(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def call(name: str | int, *arguments: int) -> int:
    """The errno of the system call `name`, or of a bare number; 0 if it succeeds.

    Missing arguments are 0.
    """
    number = NUMBERS[sysapi.ARCH][name] if isinstance(name, str) else name
    padding = [0] * (6 - len(arguments))
    registers = [ctypes.c_long(value) for value in (*arguments, *padding)]
    if _libc.syscall(ctypes.c_long(number), *registers) >= 0:
        return 0
    return ctypes.get_errno()
