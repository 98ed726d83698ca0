# any tier: seccomp -> died SIGSYS
# int 0x80 enters the kernel with other numbers: a filter for 64 bits does not know them.
# needs: x86_64
import mmap

MOV_EAX_GETPID, INT_80, RET = b"\xb8\x14\x00\x00\x00", b"\xcd\x80", b"\xc3"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(MOV_EAX_GETPID + INT_80 + RET)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
escaped(f"getpid() of i386 gave {function()}")
