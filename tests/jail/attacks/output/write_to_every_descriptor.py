# any tier: protocol -> fault, sprayed
# Spray garbage over whatever is open.
for fd in range(3, 256):
    try:
        os.write(fd, b"\xde\xad\xbe\xef" * 8)
    except OSError:
        continue
contained("sprayed")
