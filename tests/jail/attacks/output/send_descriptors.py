# any tier: protocol -> fault, sent
# Descriptors sent to the engine would fill its table, or be used by it.
import socket

for fd in channels():
    handle = socket.socket(fileno=os.dup(fd))
    for _ in range(20):
        socket.send_fds(handle, [b"x" * 64], [0] * 100)
contained("sent")
