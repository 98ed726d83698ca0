"""Snippets that try to keep the host's event loop, or its memory, for themselves."""

CHANNEL = r"""
import os, struct, sys, time
frame = sys._getframe()
while type(frame.f_locals.get("self")).__name__ != "SessionProcess":
    frame = frame.f_back
process = frame.f_locals["self"]
nonce, fd = process._nonce, process._channel.fileno()
def put(data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
def packed(name, /, **fields):
    cls = getattr(sys.modules["sandbox.protocol.guest_messages"], name)
    for field in cls.__dataclass_fields__.values():
        fields.setdefault(field.name, nonce if field.name == "nonce" else 0)
    return sys.modules["sandbox.protocol.codec"].pack(cls(**fields))
end = time.time() + 1.5
"""
FLOODS = {
    "displays of escapes": CHANNEL
    + r"""
for number in range(3):
    put(packed("Display", bundle={"text/plain": "\n" * 7_000_000}, metadata={}, number=number))
""",
    "denials": CHANNEL
    + r"""
data = packed("Denied", layer="a", tried="b", rule="c", hint="d") * 1000
while time.time() < end:
    put(data)
""",
    "words of copies": CHANNEL
    + r"""
data = packed("CopyReady", pid=5) * 5000
while time.time() < end:
    put(data)
""",
    "files": "import os\nfor i in range(9990): open('f%05d' % i, 'w').close()",
    "directories": "import os\nfor i in range(9990): os.mkdir('d%05d' % i)",
    "long paths": r"""
import os
path = "."
for _ in range(14):
    path = os.path.join(path, "d" * 250)
    os.mkdir(path)
for i in range(9900):
    open(os.path.join(path, "%05d" % i), "w").close()
""",
    "output": r"""
import os, time
end = time.time() + 1.5
while time.time() < end:
    os.write(1, b"x" * 65536)
""",
}
HALF_A_FRAME = (
    CHANNEL
    + r"""
channel = process._channel
class Late:
    def __getattr__(self, name):
        return getattr(channel, name)
    def send(self, message, *more):
        channel.send(message, *more)
        put(struct.pack("!BI", KIND, SIZE) + bytes(SIZE - 64))
process._channel = Late()
"""
)
"""The honest end of the snippet, and then most of a frame that never ends."""
