# any tier: host -> completed, registered
# What runs at the end of the process must not hold up the end of the session.
import atexit
import time


@atexit.register
def hang():
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            time.sleep(0.5)
        except BaseException:
            continue


contained("registered")
