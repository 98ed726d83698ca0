# namespaces: mount_namespace -> completed, ENOENT | landlock: seccomp -> completed, EACCES
# The sockets of Docker, containerd, systemd and D-Bus obey any process that can connect.
import socket

paths = """/var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock
/run/systemd/private /run/dbus/system_bus_socket /run/podman/podman.sock""".split()


def connected(path):
    def connect():
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(path)
        return path

    return connect


attempt(*map(connected, paths))
