# any tier: host -> limit_exceeded wall_s
# Children that ignore what can be ignored, while the parent never ends.
# limits: wall_s=0.3
import signal
import time

for _ in range(8):
    if os.fork() == 0:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.5)
        os._exit(0)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    time.sleep(0.5)
