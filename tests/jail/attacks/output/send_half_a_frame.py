# any tier: host -> limit_exceeded wall_s
# A reader that waits for the rest waits for ever.
# limits: wall_s=0.3
import signal
import struct
import time

signal.signal(signal.SIGINT, signal.SIG_IGN)
for fd in channels():
    os.write(fd, struct.pack("!BI", 31, 1000) + b"{")
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    time.sleep(0.5)
