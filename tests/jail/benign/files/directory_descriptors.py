# uses: the *at calls, O_PATH, scandir by descriptor
# out: ['deep'] b'here'
import os

os.makedirs("top/deep")
fd = os.open("top", os.O_RDONLY | os.O_DIRECTORY)
inner = os.open("deep/file", os.O_CREAT | os.O_RDWR, dir_fd=fd)
os.write(inner, b"here")
with os.scandir(fd) as entries:
    print([entry.name for entry in entries], os.pread(inner, 10, 0))
os.close(inner)
os.close(fd)
