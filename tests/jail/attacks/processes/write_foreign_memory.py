# any tier: seccomp -> completed, EPERM
# The same in the other direction: into the victim, into init and into the parent.
class Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def write(pid):
    def copy():
        space = ctypes.create_string_buffer(b"overwritten")
        own, other = Span(ctypes.addressof(space), 8), Span(VICTIM_ADDRESS, 8)
        return call("process_vm_writev", pid, ctypes.byref(own), 1, ctypes.byref(other), 1, 0)

    return copy


attempt(*map(write, (VICTIM_PID, 1, os.getppid())))
