# any tier: cgroup_or_meter -> limit_exceeded memory_bytes or raised OSError
# Files of memfd_create are memory, and no limit of a process adds them up. Where no cgroup
# counts them there are none.
block = bytes(16 << 20)
held = [os.memfd_create(f"hoard{number}") for number in range(100)]
for fd in held:
    os.write(fd, block)
escaped("1.6 GiB in anonymous files")
