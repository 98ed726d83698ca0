# any tier: seccomp -> completed, EPERM
# Attach as a debugger would.
# bare: escapes
PTRACE_SEIZE = 0x4206
attempt(lambda: call("ptrace", PTRACE_SEIZE, VICTIM_PID, 0, 0) or "seized")
