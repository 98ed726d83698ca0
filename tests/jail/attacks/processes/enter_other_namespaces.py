# namespaces: seccomp -> completed, ENOENT/EPERM | landlock: seccomp -> completed, EACCES/EPERM/ESRCH
# setns() by path and by pidfd, with every namespace that a process has.
CLONE_NEWUSER = 0x10000000
names = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")


def enter(pid, name):
    return lambda: call("setns", os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0)


def every(pid):
    return lambda: call("setns", os.pidfd_open(pid), CLONE_NEWUSER)


pids = (1, os.getppid(), os.getpid())
attempt(*(enter(pid, name) for pid in pids for name in names), *map(every, pids))
