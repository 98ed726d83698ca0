# any tier: protocol -> fault, forged
# Kinds that only init or the zygote may send: ready, exited, killed, failed, plan, spawn.
import json
import struct

READY = {"pid": 1, "layers": []}
EXITED = {"pid": 2, "status": 0}
SPAWN = {"session": 1, "cgroups": 0}
for kind, message in ((10, READY), (11, EXITED), (2, SPAWN), (15, {"count": 0})):
    data = json.dumps(message).encode()
    for fd in channels():
        os.write(fd, struct.pack("!BI", kind, len(data)) + data)
contained("forged")
