# any tier: capabilities -> completed, EPERM
# A file attribute is the other way to a program with rights.
import struct

VFS_CAP_REVISION_2 = 0x02000000


def grant():
    with open("planted", "wb"):
        value = struct.pack("<IIIII", VFS_CAP_REVISION_2 | 1, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
        os.setxattr("planted", "security.capability", value)
    return "granted"


attempt(grant, lambda: os.setxattr(".", "trusted.overlay.opaque", b"y") or "trusted")
