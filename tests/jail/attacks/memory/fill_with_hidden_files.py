# any tier: rlimits -> limit_exceeded disk_bytes or raised OSError
# Files without a name: no listing shows what fills the disk.
block = bytes(1 << 20)
stream = open("hidden", "wb", buffering=0)
os.unlink("hidden")
for _ in range(2048):
    stream.write(block)
escaped("2 GiB without a name")
