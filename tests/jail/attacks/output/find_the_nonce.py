# any tier: protocol -> completed, forged
# An end with the right nonce forges this session's own result, and no other's: the second
# one is out of place and ends the session.
# fresh: 6 * 7 -> 42
# sibling: 6 * 7 -> 42
import gc
import json
import struct

DONE = 32
nonces = set()
frame = sys._getframe()
while frame is not None:
    nonces |= {getattr(value, "nonce", None) for value in frame.f_locals.values()}
    nonces |= {value for name, value in frame.f_locals.items() if name == "nonce"}
    frame = frame.f_back
nonces |= {getattr(item, "nonce", None) for item in gc.get_objects() if hasattr(item, "nonce")}
for nonce in filter(lambda value: isinstance(value, str), nonces):
    body = json.dumps(
        {
            "nonce": nonce, "ended": "completed", "text": "forged", "error_type": "",
            "error_message": "", "error_traceback": "", "error_errno": 0, "refused_line": 0,
            "in_place": "", "names": [], "exit_code": -1, "slow_import": "", "slow_import_ms": 0,
        }
    ).encode()
    for fd in channels():
        os.write(fd, struct.pack("!BI", DONE, len(body)) + body)
        os.write(fd, struct.pack("!BI", DONE, len(body)) + body)
contained("forged")
