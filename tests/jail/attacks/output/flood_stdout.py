# any tier: output_cap -> limit_exceeded output_bytes
# A gibibyte of text.
for _ in range(16_384):
    print("x" * 65_535)
escaped("1 GiB of output")
