# any tier: seccomp -> completed, EAFNOSUPPORT
# vsock has no namespace: it leads to the hypervisor whatever the network is.
AF_VSOCK, SOCK_STREAM, SOCK_DGRAM = 40, 1, 2
import socket

attempt(
    lambda: socket.socket(AF_VSOCK, SOCK_STREAM).fileno(),
    lambda: socket.socket(AF_VSOCK, SOCK_DGRAM).fileno(),
)
