# uses: every clock of the time module, short sleeps
# out: True True True True
import time

start = time.monotonic()
time.sleep(0.01)
print(
    time.monotonic() - start >= 0.01, time.time() > 1.6e9, time.thread_time() >= 0,
    time.clock_gettime(time.CLOCK_BOOTTIME) > 0,
)
