# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# A connection that is made by sendto(), which rules about connect() do not see.
# bare: escapes
import socket


def fast_open():
    with socket.socket() as client:
        client.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", TCP_PORT))
        client.settimeout(2)
        return client.recv(100)


attempt(fast_open)
