# namespaces: mount_namespace -> completed, ENOENT | landlock: seccomp -> completed, EACCES
# A socket file of the host that anyone may use; Landlock rules it only since version 9.
# bare: escapes
import socket


def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(SOCKET_FILE)
        return client.recv(100)


attempt(connect)
