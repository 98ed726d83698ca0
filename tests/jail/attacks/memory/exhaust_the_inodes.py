# namespaces: tmpfs_size -> raised OSError or limit_exceeded disk_bytes | landlock: meter -> limit_exceeded disk_bytes
# Empty files take no bytes.
for number in range(30_000):
    os.close(os.open(f"empty{number}", os.O_CREAT | os.O_WRONLY))
escaped("30 000 files")
