# uses: mkfifo, a reader and a writer
# out: b'through the fifo' /dev/null b'' b'\x00\x00'
import os

os.mkfifo("fifo")
pid = os.fork()
if pid == 0:
    with open("fifo", "wb") as stream:
        stream.write(b"through the fifo")
    os._exit(0)
with open("fifo", "rb") as stream:
    data = stream.read()
os.waitpid(pid, 0)
print(data, os.devnull, open(os.devnull, "rb").read(), open("/dev/zero", "rb").read(2))
