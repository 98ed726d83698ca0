# namespaces: tmpfs_size -> limit_exceeded disk_bytes | landlock: rlimits -> raised OSError or limit_exceeded disk_bytes
# One file that grows until something stops it.
block = bytes(1 << 20)
with open("hoard", "wb", buffering=0) as stream:
    for _ in range(2048):
        stream.write(block)
escaped("2 GiB in the workspace")
