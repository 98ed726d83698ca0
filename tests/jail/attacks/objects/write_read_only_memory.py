# any tier: zygote -> completed, own copy
# Private pages of a shared library, made writable and changed: the change stays in this process.
# fresh: __import__("zlib").crc32(b"a") -> 3904355907
# sibling: __import__("zlib").crc32(b"a") -> 3904355907
PROT_ALL, PAGE = 1 | 2 | 4, 4096
address = ctypes.cast(LIBC.getppid, ctypes.c_void_p).value & ~(PAGE - 1)
done = LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), PROT_ALL)
if done == 0:
    ctypes.memset(address, 0xC3, 1)
contained("own copy")
