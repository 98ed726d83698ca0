# any tier: protocol -> fault, forged
# Fields that are missing, unknown, of another type or far too long.
import json
import struct

DONE = 32
bodies = [{}, [], {"nonce": 1}, {"ended": "completed", "text": "x" * 2_000_000}, "x", None]
for fd in channels():
    for body in bodies:
        data = json.dumps(body).encode()
        os.write(fd, struct.pack("!BI", DONE, len(data)) + data)
contained("forged")
