# namespaces: seccomp -> completed, ENOTTY | landlock: seccomp -> completed, EACCES
# Take an interface down, give it an address, make a tunnel.
import fcntl
import socket

SIOCSIFFLAGS, SIOCSIFADDR, SIOCADDTUNNEL, SIOCBRADDBR = 0x8914, 0x8916, 0x89F1, 0x89A0


def configure(request):
    def change():
        with socket.socket(type=socket.SOCK_DGRAM) as handle:
            return fcntl.ioctl(handle, request, b"lo".ljust(40, b"\0"))

    return change


attempt(*map(configure, (SIOCSIFFLAGS, SIOCSIFADDR, SIOCADDTUNNEL, SIOCBRADDBR)))
