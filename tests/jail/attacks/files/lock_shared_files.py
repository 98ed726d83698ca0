# any tier: seccomp -> completed, EPERM
# Leases and directory notes on shared files tell one session what another one does.
import fcntl

programs, module = os.open("/usr/bin", os.O_RDONLY), os.open(os.__file__, os.O_RDONLY)
attempt(
    lambda: fcntl.fcntl(programs, fcntl.F_NOTIFY, fcntl.DN_ACCESS) or "note",
    lambda: fcntl.fcntl(module, fcntl.F_SETLEASE, fcntl.F_RDLCK) or "lease",
)
