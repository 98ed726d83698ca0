# namespaces: net_namespace -> completed, ENETUNREACH | landlock: seccomp -> completed, EACCES
# Public addresses, by stream and by datagram.
import socket


def datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        return client.sendto(b"?", ("192.0.2.1", 53))


attempt(lambda: socket.create_connection(("192.0.2.1", 443), timeout=1).getpeername(), datagram)
