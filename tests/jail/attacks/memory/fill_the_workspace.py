# any tier: rlimits -> limit_exceeded disk_bytes or raised OSError
# One file that grows until something stops it.
block = bytes(1 << 20)
with open("hoard", "wb", buffering=0) as stream:
    for _ in range(2048):
        stream.write(block)
escaped("2 GiB in the workspace")
