# any tier: seccomp -> completed, ENOSYS
# A ring opens files and sockets without a call that a filter could see.
parameters = ctypes.create_string_buffer(120)
attempt(lambda: call("io_uring_setup", 4, parameters))
