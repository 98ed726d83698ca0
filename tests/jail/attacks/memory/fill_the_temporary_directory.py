# namespaces: tmpfs_size -> limit_exceeded disk_bytes | landlock: meter -> limit_exceeded disk_bytes
# Many files of four mebibytes, below the limit of each.
import tempfile

block = bytes(1 << 22)
for _ in range(512):
    with tempfile.NamedTemporaryFile(delete=False, buffering=0) as stream:
        stream.write(block)
escaped("2 GiB of temporary files")
