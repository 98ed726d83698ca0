# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# The C library directly: the socket module and its audit events are not involved.
# bare: escapes
import struct

AF_INET, SOCK_STREAM = 2, 1


def connect():
    handle = LIBC.socket(AF_INET, SOCK_STREAM, 0)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "socket")
    address = struct.pack("=H", AF_INET) + struct.pack("!HI", TCP_PORT, 0x7F000001) + bytes(8)
    if LIBC.connect(handle, address, len(address)) < 0:
        raise OSError(ctypes.get_errno(), "connect")
    return os.read(handle, 100)


attempt(connect)
