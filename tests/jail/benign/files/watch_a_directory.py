# uses: inotify by way of ctypes
# tiers: namespaces
# out: True
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
IN_CREATE = 0x100
fd = libc.inotify_init1(os.O_NONBLOCK)
watch = libc.inotify_add_watch(fd, b".", IN_CREATE)
open("made", "w").close()
print(b"made" in os.read(fd, 1000) and watch > 0)
os.close(fd)
