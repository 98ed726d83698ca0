# any tier: seccomp -> completed, EPERM/EACCES/EINVAL
# Leases and directory notes on shared files tell one session what another one does.
import fcntl

attempt(
    lambda: fcntl.fcntl(os.open("/usr/bin", os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS) or "note",
    lambda: fcntl.fcntl(os.open(os.__file__, 0), fcntl.F_SETLEASE, fcntl.F_RDLCK) or "lease",
)
