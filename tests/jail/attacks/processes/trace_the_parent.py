# any tier: seccomp -> completed, EPERM
# Attach to init, to the standby, or to whatever else the engine runs here.
PTRACE_SEIZE, PTRACE_ATTACH = 0x4206, 16
targets = {1, os.getppid(), os.getpid() - 1}
attempt(
    *(lambda pid=pid: call("ptrace", PTRACE_SEIZE, pid, 0, 0) or pid for pid in targets),
    *(lambda pid=pid: call("ptrace", PTRACE_ATTACH, pid, 0, 0) or pid for pid in targets),
)
