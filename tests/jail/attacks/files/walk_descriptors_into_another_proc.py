# any tier: descriptors -> completed, EBADF/ENOTDIR
# A descriptor of another /proc shows processes of other sessions and files of the whole kernel.
SHOWN_TO_NOBODY = {"kcore", "kallsyms", "sysrq-trigger", "sys", "keys"}


def listed(fd):
    def read():
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        names = os.listdir(directory)
        os.close(directory)
        return names if SHOWN_TO_NOBODY & set(names) else HARMLESS

    return read


attempt(*map(listed, range(3, 256)), harmless="EBADF")
