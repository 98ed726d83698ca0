# any tier: cgroup_or_meter -> limit_exceeded memory_bytes or completed, EMFILE
# Socket buffers too; socket pairs exist in every tier.
import socket

pairs = []


def stuff():
    for _ in range(1000):
        left, right = socket.socketpair()
        pairs.append((left, right))
        left.setblocking(False)
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
        try:
            while True:
                left.send(bytes(1 << 16))
        except BlockingIOError:
            continue
    return f"{len(pairs)} pairs"


attempt(stuff)
