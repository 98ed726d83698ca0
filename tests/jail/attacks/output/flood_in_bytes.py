# any tier: output_cap -> limit_exceeded output_bytes
# A system call for each byte, none of which is text.
deadline = os.times().elapsed + 20
while os.times().elapsed < deadline:
    os.write(1, b"\xff")
    os.write(1, b"\xc3\x28" * 1000)
escaped("20 seconds of broken text")
