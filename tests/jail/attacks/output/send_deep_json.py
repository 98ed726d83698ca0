# any tier: protocol -> fault, forged
# A million open brackets, a number of a million digits, NaN, and a key that comes twice.
import struct

DONE = 32
bodies = [b"[" * 1_000_000, b'{"nonce":' + b"9" * 1_000_000 + b"}", b'{"nonce":NaN}', b"\xff\xfe"]
for fd in channels():
    for body in bodies:
        os.write(fd, struct.pack("!BI", DONE, len(body)) + body)
contained("forged")
