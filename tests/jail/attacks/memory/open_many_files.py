# any tier: rlimits -> completed, EMFILE
# As many descriptors as the kernel gives.
held = []


def hoard():
    for _ in range(10_000):
        held.append(os.open(os.curdir, os.O_RDONLY))
    return f"{len(held)} files"


attempt(hoard)
for fd in held:
    os.close(fd)
