# any tier: seccomp -> completed, EPERM
# A clock that can be set is a deadline that can be moved.
import time

moment = (ctypes.c_long * 2)(0, 0)
buffer = ctypes.create_string_buffer(256)
ctypes.c_uint.from_buffer(buffer).value = 1
attempt(
    lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    lambda: call("settimeofday", ctypes.byref(moment), None),
    lambda: call("adjtimex", buffer),
    lambda: call("clock_adjtime", 0, buffer),
)
