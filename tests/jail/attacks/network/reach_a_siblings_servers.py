# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# Another session listens on an abstract name and on a loopback port.
import socket


def abstract():
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect("\0cellblock-sibling")
        return client.recv(100)


attempt(
    abstract,
    lambda: socket.create_connection(("127.0.0.1", SIBLING_PORT), timeout=2).recv(100),
)
