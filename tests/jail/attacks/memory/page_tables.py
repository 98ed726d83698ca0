# any tier: cgroup_or_meter -> limit_exceeded memory_bytes
# One page of each two mebibytes touched: half of what this costs is page tables.
import mmap

MAP_NORESERVE, STEP = 0x4000, 2 << 20
space = mmap.mmap(-1, 256 << 30, flags=mmap.MAP_SHARED | MAP_NORESERVE)
for offset in range(0, 256 << 30, STEP):
    space[offset] = 1
escaped(f"{(256 << 30) // STEP} page tables")
