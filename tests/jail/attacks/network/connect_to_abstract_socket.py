# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# Abstract names belong to the network namespace, not to the file system.
# bare: escapes
import socket


def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(ABSTRACT_NAME)
        return client.recv(100)


attempt(connect)
