# any tier: rlimits -> completed, EMFILE/ETOOMANYREFS/ENOSYS
# A descriptor inside a message counts for nobody's limit of open files.
import socket

left, right = socket.socketpair()
left.setblocking(False)


def park():
    for number in range(5000):
        fd = os.memfd_create(f"parked{number}")
        try:
            socket.send_fds(left, [b"x"], [fd])
        finally:
            os.close(fd)
    return "5000 descriptors in flight"


def parked():
    try:
        return park()
    except BlockingIOError:
        return HARMLESS


attempt(parked, harmless="EMFILE")
