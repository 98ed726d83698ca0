# any tier: host -> completed, left running
# A daemon: own session, own group, no parent, every descriptor closed.
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.5)
    os._exit(0)
os.wait()
contained("left running")
