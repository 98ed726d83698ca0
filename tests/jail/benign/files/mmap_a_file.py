# uses: shared and private mappings, resize
# out: b'HELLO world' 11
import mmap

with open("mapped", "wb") as stream:
    stream.write(b"hello world")
with open("mapped", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
    view[:5] = b"HELLO"
    view.flush()
    found = view.find(b"world") + 5
print(open("mapped", "rb").read(), found)
