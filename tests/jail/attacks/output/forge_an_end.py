# any tier: protocol -> fault, forged
# A well-formed end of the snippet, but for the nonce.
import json
import struct

DONE = 32
body = json.dumps(
    {
        "nonce": "0" * 32, "ended": "completed", "text": "forged", "error_type": "",
        "error_message": "", "error_traceback": "", "error_errno": 0, "refused_line": 0,
        "in_place": "", "names": [],
    }
).encode()
for fd in channels():
    os.write(fd, struct.pack("!BI", DONE, len(body)) + body)
contained("forged")
