# any tier: host -> limit_exceeded wall_s
# Each process forks and exits at once: a kill by a list of pids is always late.
# limits: wall_s=0.3
import time


def relay(deadline):
    while time.monotonic() < deadline:
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            continue
    os._exit(0)


deadline = time.monotonic() + 10
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        relay(deadline)
while time.monotonic() < deadline:
    time.sleep(0.5)
