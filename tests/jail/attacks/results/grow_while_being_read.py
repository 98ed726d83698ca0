# any tier: file_reader -> completed
# A file that gets longer with every byte that is read.
# get: growing.txt -> any
import time

stream = open("growing.txt", "wb", buffering=0)
stream.write(b"x")
if os.fork() == 0:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            stream.write(bytes(1 << 16))
        except OSError:
            stream.truncate(0)
            stream.seek(0)
    os._exit(0)
