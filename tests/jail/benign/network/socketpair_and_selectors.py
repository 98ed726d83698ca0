# uses: socket pairs, epoll, poll and select, in every tier
# out: EpollSelector b'a' True True
import select
import selectors
import socket

left, right = socket.socketpair()
with selectors.DefaultSelector() as selector:
    selector.register(right, selectors.EVENT_READ, "key")
    left.send(b"a")
    (key, events), = selector.select(10)
    print(type(selector).__name__, key.fileobj.recv(1), end=" ")
poll = select.poll()
poll.register(left, select.POLLOUT)
print(bool(poll.poll(1000)), select.select([], [left], [], 1)[1] == [left])
left.close()
right.close()
