# any tier: seccomp -> completed, ENOSYS
# memfd_secret takes pages away from the kernel's own map.
attempt(lambda: call("memfd_secret", 0))
