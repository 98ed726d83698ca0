# any tier: capabilities -> completed, EPERM/none
# Those that are left, those that can be asked for, and the ambient ones.
PR_CAPBSET_READ, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 23, 47, 2
VERSION = 0x20080522
header = (ctypes.c_uint32 * 2)(VERSION, 0)
data = (ctypes.c_uint32 * 6)()


def held():
    call("capget", ctypes.byref(header), ctypes.byref(data))
    return HARMLESS if not any(data) else list(data)


def bounding():
    left = [n for n in range(41) if LIBC.prctl(PR_CAPBSET_READ, n, 0, 0, 0) == 1]
    return left or HARMLESS


def take():
    full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return call("capset", ctypes.byref(header), ctypes.byref(full)) or "capset"


def raise_ambient():
    return call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0) or "ambient"


attempt(held, bounding, take, raise_ambient, harmless="none")
