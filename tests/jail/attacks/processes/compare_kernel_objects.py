# any tier: seccomp -> completed, EPERM
# kcmp orders kernel pointers: a leak of the kernel's layout.
# bare: escapes
KCMP_VM = 1
attempt(lambda: call("kcmp", VICTIM_PID, os.getpid(), KCMP_VM, 0, 0))
