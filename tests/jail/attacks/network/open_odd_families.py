# any tier: seccomp -> completed, EAFNOSUPPORT
# Every address family but those of ordinary programs; opening one may load a module.
import socket

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
families = [family for family in range(47) if family not in (AF_UNIX, AF_INET, AF_INET6)]
attempt(
    *(
        lambda family=family, kind=kind: socket.socket(family, kind).fileno()
        for family in families
        for kind in (1, 2, 3, 5)
    )
)
