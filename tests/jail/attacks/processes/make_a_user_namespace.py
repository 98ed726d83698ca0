# any tier: seccomp -> completed, EPERM
# All capabilities inside a new user namespace open half of the kernel's attack surface.
flags = {
    "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000,
    "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000, "time": 0x80,
}
attempt(
    *(lambda flag=flag: call("unshare", flag) or flag for flag in flags.values()),
    *(lambda flag=flag: call("unshare", flag | 0x10000000) or flag for flag in flags.values()),
)
