# any tier: seccomp -> completed, EPERM
# File handles skip every directory on the way: inode 2 is the root of most file systems.
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("inode", ctypes.c_ulong)]


AT_FDCWD = -100


def by_number():
    mount = os.open(".", os.O_RDONLY)
    return call("open_by_handle_at", mount, ctypes.byref(Handle(8, 1, 2)), os.O_RDONLY)


def by_name():
    handle, mount_id = Handle(8, 1, 0), ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, b"/", ctypes.byref(handle), ctypes.byref(mount_id), 0)
    return handle.inode


attempt(by_number, by_name)
