# any tier: rlimits -> completed or limit_exceeded processes or limit_exceeded memory_bytes, EAGAIN
# Exponential, and no process waits for the children: their end is the session's end. Seven
# generations are 128 processes, if nothing stops them at 48.
import time

MOST = 128
reader, writer = os.pipe()
if os.fork() == 0:
    deadline = time.monotonic() + 10
    word = b"."
    try:
        for _ in range(7):
            os.fork()
    except BlockingIOError:
        word = b"!"
    os.write(writer, word)
    while time.monotonic() < deadline:
        time.sleep(0.5)
    os._exit(0)
words = b""
while b"!" not in words and len(words) < MOST:
    words += os.read(reader, MOST)
if b"!" in words:
    contained("EAGAIN")
else:
    escaped(f"{len(words)} processes")
