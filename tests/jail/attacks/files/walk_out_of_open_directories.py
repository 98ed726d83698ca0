# any tier: descriptors -> completed, EBADF/ENOTDIR
# openat() relative to each descriptor there might be.
def relative(fd):
    def read():
        path = "../" * 40 + CANARY_FILE.lstrip("/")
        return os.read(os.open(path, os.O_RDONLY, dir_fd=fd), 100)

    return read


attempt(*map(relative, range(0, 256)))
