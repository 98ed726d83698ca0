# any tier: seccomp -> completed, EPERM
# fanotify reports, and hands out, every file that is opened on a mount.
attempt(lambda: call("fanotify_init", 0, 0), lambda: call("fanotify_init", 0x200, 0))
