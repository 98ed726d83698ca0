"""The unjailed rival: a process with the same preloads that answers each request by `os.fork`.

It is started as the host starts a zygote, warms itself with the zygote's own code and runs
snippets with the guest's own runner, but puts no layer on. Standard library and guest code only.
"""

import json
import os
import statistics
import time
from typing import NoReturn

from sandbox.guest.boot import memory, zygote
from sandbox.guest.session.session_process import SessionProcess
from sandbox.protocol.plan import JailPlan

FORKS = 5
"""Bare forks per request; the median is answered."""


def main(fd: int) -> NoReturn:
    """Serve the socket `fd`: first the plan, a line; then requests, a line of JSON each."""
    with os.fdopen(fd, "r+b", buffering=0, closefd=False) as requests:
        plan = JailPlan.from_json(requests.readline())
        session = zygote.warm(plan)
        memory.freeze_heap()
        os.write(fd, b"ready\n")
        while line := requests.readline():
            request = json.loads(line)
            if request["do"] == "run":
                _run(request["code"], session, fd)
            else:
                os.write(fd, f"{_bare_fork_s()}\n".encode())
    os._exit(0)


def _run(code: str, session: SessionProcess, fd: int) -> None:
    """Fork; the child runs `code` and answers with its echo as a line."""
    pid = os.fork()
    if pid == 0:
        ending = session.snippets.run(code, 1)
        answer = json.dumps([ending.ended, ending.text])
        os.write(fd, answer.encode() + b"\n")
        os._exit(0)
    os.waitpid(pid, 0)


def _bare_fork_s() -> float:
    """Seconds from a fork until the child, which ends at once, has been waited for."""
    samples = []
    for _ in range(FORKS):
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        samples.append(time.perf_counter() - began)
    return statistics.median(samples)
