# any tier: protocol -> fault, claimed
# Four gibibytes announced: a reader that allocates first is a reader that dies.
import struct

for fd in channels():
    os.write(fd, struct.pack("!BI", 32, 0xFFFFFFFF) + b"x" * 1000)
contained("claimed")
