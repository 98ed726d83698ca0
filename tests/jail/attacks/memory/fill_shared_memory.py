# namespaces: tmpfs_size -> completed, ENOSPC | landlock: landlock -> completed, EACCES
# /dev/shm is memory with names.
block = bytes(16 << 20)


def fill():
    for number in range(100):
        with open(f"/dev/shm/hoard{number}", "wb", buffering=0) as stream:
            stream.write(block)
            stream.write(b"x")
    return "1.6 GiB in /dev/shm"


attempt(fill)
