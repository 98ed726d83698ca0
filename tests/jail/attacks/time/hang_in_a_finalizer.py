# any tier: host -> limit_exceeded wall_s
# An exception inside __del__ is swallowed by the interpreter, an interrupt too.
# limits: wall_s=0.2
import time


class Sticky:
    def __del__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                time.sleep(0.5)
            except BaseException:
                continue


held = Sticky()
del held
escaped("the finalizer came back")
