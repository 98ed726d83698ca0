# any tier: seccomp -> completed, ENOSYS/EPERM
# A filter with a listener lets its owner answer the calls of children, and the engine is one step
# away from being such a child; a Landlock set of one's own would be the next surface.
# bare: escapes
import struct

PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
SECCOMP_RET_ALLOW = 0x7FFF0000
LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
allow = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, SECCOMP_RET_ALLOW))
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", 1, ctypes.addressof(allow)))
attempt(
    lambda: call("seccomp", SET_MODE_FILTER, NEW_LISTENER, program),
    lambda: call("seccomp", SET_MODE_FILTER, 0, program) or "filter",
    lambda: call("prctl", 22, 2, program, 0, 0) or "filter by prctl",
    lambda: call("landlock_create_ruleset", None, 0, 1),
)
