# any tier: cgroup_or_meter -> limit_exceeded memory_bytes
# A shared anonymous mapping is not data in the sense of RLIMIT_DATA.
import mmap

block = bytes(1 << 20)
space = mmap.mmap(-1, 2 << 30)
for _ in range(2048):
    space.write(block)
escaped("2 GiB in a shared mapping")
