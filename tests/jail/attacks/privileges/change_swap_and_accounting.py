# any tier: seccomp -> completed, EPERM
# Swap areas, process accounting and quotas, on paths that do not exist.
path = b"/no/such/path"
attempt(
    lambda: call("swapon", path, 0),
    lambda: call("swapoff", path),
    lambda: call("acct", path),
    lambda: call("quotactl", 0x800001, path, 0, None),
)
