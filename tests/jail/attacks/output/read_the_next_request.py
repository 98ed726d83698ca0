# any tier: host -> completed, nothing to read
# The channel carries one session's requests; this one has no other yet.
import socket

waiting = []
for fd in channels():
    try:
        waiting.append(socket.socket(fileno=os.dup(fd)).recv(1000, socket.MSG_DONTWAIT))
    except OSError:
        continue
if any(waiting):
    escaped(waiting)
else:
    contained("nothing to read")
