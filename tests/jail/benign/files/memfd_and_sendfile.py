# uses: memfd_create, sendfile, copy_file_range, splice, fallocate
# out: b'memory' b'memory' 4096
import os

source = os.memfd_create("memory")
os.write(source, b"memory")
target = os.open("target", os.O_CREAT | os.O_RDWR)
os.sendfile(target, source, 0, 6)
copy = os.open("copy", os.O_CREAT | os.O_RDWR)
os.copy_file_range(target, copy, 6, 0, 0)
os.posix_fallocate(copy, 0, 4096)
print(os.pread(target, 10, 0), os.pread(copy, 6, 0), os.fstat(copy).st_size)
for fd in (source, target, copy):
    os.close(fd)
