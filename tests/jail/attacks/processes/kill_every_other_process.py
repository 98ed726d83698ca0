# namespaces: host -> completed, EPERM/ESRCH/sent | landlock: landlock -> completed, EPERM
# Every number that a process of this session could have, the standby of its state among them.
import signal


def end(pid):
    def kill():
        os.kill(pid, signal.SIGKILL)
        return HARMLESS

    return kill


own = os.getpid()
numbers = [pid for pid in range(1, 64) if pid != own] if own < 64 else [os.getppid()]
attempt(*map(end, numbers), harmless="sent")
