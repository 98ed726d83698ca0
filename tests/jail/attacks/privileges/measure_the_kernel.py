# any tier: seccomp -> completed, EPERM
# Performance counters see other processes through shared hardware.
attributes = ctypes.create_string_buffer(128)
ctypes.c_uint32.from_buffer(attributes, 4).value = 128
attempt(
    lambda: call("perf_event_open", attributes, 0, -1, -1, 0),
    lambda: call("perf_event_open", attributes, -1, 0, -1, 0),
)
