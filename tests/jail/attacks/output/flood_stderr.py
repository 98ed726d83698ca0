# any tier: output_cap -> limit_exceeded output_bytes
# The same on the other stream, past every Python object.
block = b"e" * (1 << 16)
for _ in range(16_384):
    os.write(2, block)
escaped("1 GiB of errors")
