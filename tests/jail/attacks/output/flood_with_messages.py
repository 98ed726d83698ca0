# any tier: protocol -> limit_exceeded wall_s or fault
# Valid messages without end: the engine reads them, and must go on with everything else.
# limits: wall_s=0.4
import gc
import json
import signal
import socket
import struct

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
DENIED = 34
nonce = next(item.nonce for item in gc.get_objects() if type(item).__name__ == "Run")
body = json.dumps(
    {"nonce": nonce, "layer": "x", "tried": "x", "rule": "x", "hint": "x" * 900}
).encode()
block = (struct.pack("!BI", DENIED, len(body)) + body) * 60
handles = [socket.socket(fileno=os.dup(fd)) for fd in channels()]
deadline = os.times().elapsed + 20
while os.times().elapsed < deadline:
    for handle in handles:
        handle.sendall(block)
