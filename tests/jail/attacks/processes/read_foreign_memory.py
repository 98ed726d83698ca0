# any tier: seccomp -> completed, EPERM
# process_vm_readv copies memory between processes without stopping either.
# bare: escapes
class Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read():
    space = ctypes.create_string_buffer(64)
    own, other = Span(ctypes.addressof(space), 64), Span(VICTIM_ADDRESS, 64)
    call("process_vm_readv", VICTIM_PID, ctypes.byref(own), 1, ctypes.byref(other), 1, 0)
    return space.value


attempt(read)
