# any tier: supervisor -> completed, EAGAIN
# Exponential, and nobody waits for the children: their end is the session's end.
import time


def bomb():
    deadline = time.monotonic() + 20
    for _ in range(7):
        os.fork()
    while time.monotonic() < deadline:
        time.sleep(1)
    os._exit(0)


pid = os.fork()
if pid == 0:
    try:
        bomb()
    except BlockingIOError:
        os._exit(errno.EAGAIN)
    os._exit(0)
_pid, status = os.waitpid(pid, 0)
contained(OSError(os.waitstatus_to_exitcode(status), "fork"))
