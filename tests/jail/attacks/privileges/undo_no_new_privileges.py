# any tier: seccomp -> completed, EINVAL/EPERM
# What must not be switched back: new privileges, the bounding set, secure bits, the dumpable flag.
PR_SET_DUMPABLE, PR_SET_SECUREBITS, PR_SET_MM, PR_SET_NO_NEW_PRIVS = 4, 28, 35, 38
PR_SET_KEEPCAPS, PR_SET_PTRACER, PR_GET_NO_NEW_PRIVS = 8, 0x59616D61, 39
assert LIBC.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
attempt(
    lambda: call("prctl", PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) or "no_new_privs",
    lambda: call("prctl", PR_SET_SECUREBITS, 0x2F, 0, 0, 0) or "securebits",
    lambda: call("prctl", PR_SET_MM, 1, 0, 0, 0) or "mm",
    lambda: call("prctl", PR_SET_DUMPABLE, 2, 0, 0, 0) or "dumpable",
)
