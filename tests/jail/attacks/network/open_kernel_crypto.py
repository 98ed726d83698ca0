# any tier: seccomp -> completed, EAFNOSUPPORT
# AF_ALG loads kernel modules on demand and has had holes of its own.
import socket


def hashing():
    handle = socket.socket(38, socket.SOCK_SEQPACKET)
    handle.bind(("hash", "sha256"))
    return handle.fileno()


attempt(hashing)
