# uses: SCM_RIGHTS between own processes
# out: b'through the pipe'
import os
import socket

left, right = socket.socketpair()
reader, writer = os.pipe()
socket.send_fds(left, [b"x"], [writer])
_, (received,), _, _ = socket.recv_fds(right, 1, 1)
os.write(received, b"through the pipe")
print(os.read(reader, 100))
for fd in (reader, writer, received):
    os.close(fd)
