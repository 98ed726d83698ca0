# any tier: seccomp -> completed, EPERM
# The newer call that clears the read-only flag of a whole tree of mounts.
MOUNT_ATTR_RDONLY, AT_FDCWD, AT_RECURSIVE = 1, -100, 0x8000
attributes = (ctypes.c_ulong * 4)(0, MOUNT_ATTR_RDONLY, 0, 0)
attempt(lambda: call("mount_setattr", AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), 32))
