# any tier: seccomp -> completed, EPERM
# TIOCSTI puts characters into the keyboard of whoever started the program; the same request with
# junk in the upper half, and its cousin for virtual consoles, passed filters of others.
TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423
attempt(
    *(
        lambda fd=fd, request=request: call("ioctl", fd, request, b"\x02") or "typed"
        for fd in (0, 1, 2)
        for request in (TIOCSTI, TIOCSTI | 1 << 32, TIOCLINUX, TIOCLINUX | 1 << 33, TIOCSETD)
    )
)
