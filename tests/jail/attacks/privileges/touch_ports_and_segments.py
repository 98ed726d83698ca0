# any tier: seccomp -> completed, EPERM
# I/O ports and descriptor tables of the processor.
# needs: x86_64
attempt(
    lambda: call("iopl", 3) or "iopl",
    lambda: call("ioperm", 0x80, 1, 1) or "ioperm",
    lambda: call("modify_ldt", 0, ctypes.create_string_buffer(16), 16) or "ldt",
)
