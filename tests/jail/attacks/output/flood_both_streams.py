# any tier: output_cap -> limit_exceeded output_bytes
# Each stream stays below the limit while their sum does not.
block = b"x" * (1 << 10)
for _ in range(OUTPUT_BYTES * 3 // 4 // 1024):
    os.write(1, block)
    os.write(2, block)
