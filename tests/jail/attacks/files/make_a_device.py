# any tier: capabilities -> completed, EPERM
# Device numbers of the first disks, of memory and of the kernel log.
import stat

numbers = [(8, 0), (254, 0), (259, 0), (1, 1), (1, 11), (5, 1)]


def device(major, minor):
    def make():
        kind = stat.S_IFCHR if major in (1, 5) else stat.S_IFBLK
        os.mknod(f"device{major}.{minor}", kind | 0o666, os.makedev(major, minor))
        return open(f"device{major}.{minor}", "rb")

    return make


attempt(*(device(*pair) for pair in numbers))
