# any tier: rlimits -> completed or limit_exceeded processes, EAGAIN
# Two hundred children that wait, against a limit of 48 processes.
import signal

children = []


def bomb():
    for _ in range(200):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        children.append(pid)
    return f"{len(children)} processes"


attempt(bomb)
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
