# any tier: seccomp -> completed, EPERM
# The log names addresses, devices and other people's processes.
READ_ALL, SIZE_BUFFER = 3, 10
buffer = ctypes.create_string_buffer(4096)
attempt(
    lambda: call("syslog", READ_ALL, buffer, 4096),
    lambda: call("syslog", SIZE_BUFFER, None, 0),
)
