# any tier: tmpfs_size -> limit_exceeded disk_bytes or raised OSError
# Empty files take no bytes.
for number in range(30_000):
    os.close(os.open(f"empty{number}", os.O_CREAT | os.O_WRONLY))
escaped("30 000 files")
