# any tier: rlimits -> completed, EMFILE/EPERM
# Pipe buffers belong to the kernel: a thousand pipes, each as large as it may be.
import fcntl

pipes = []


def stuff():
    for _ in range(1000):
        reader, writer = os.pipe2(os.O_NONBLOCK)
        pipes.append((reader, writer))
        try:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
        except OSError:
            pass
        try:
            while True:
                os.write(writer, bytes(1 << 16))
        except BlockingIOError:
            continue
    return f"{len(pipes)} pipes"


attempt(stuff)
for pair in pipes:
    for fd in pair:
        os.close(fd)
