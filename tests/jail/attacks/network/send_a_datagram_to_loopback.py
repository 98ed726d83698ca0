# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# UDP needs no connection, and Landlock has no rule for it.
# bare: escapes
import socket


def ask():
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(("127.0.0.1", UDP_PORT))
        client.send(b"?")
        return client.recv(100)


attempt(ask)
