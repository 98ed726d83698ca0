# any tier: capabilities -> completed, EPERM/none
# Those that are left, those that can be asked for, and the ambient ones.
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
VERSION = 0x20080522
header = (ctypes.c_uint32 * 2)(VERSION, 0)
data = (ctypes.c_uint32 * 6)()


def held():
    call("capget", ctypes.byref(header), ctypes.byref(data))
    return HARMLESS if not any(data) else list(data)


def take():
    full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return call("capset", ctypes.byref(header), ctypes.byref(full)) or "capset"


def raise_ambient():
    return call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0) or "ambient"


attempt(held, take, raise_ambient, harmless="none")
