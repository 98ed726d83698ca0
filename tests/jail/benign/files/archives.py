# uses: zip, tar, gzip, bz2 and lzma, with modes and times
# out: b'text' b'text' b'text' b'text' b'text'
import bz2
import gzip
import lzma
import tarfile
import zipfile

open("text.txt", "w").write("text")
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.write("text.txt")
with tarfile.open("a.tar.xz", "w:xz") as archive:
    archive.add("text.txt")
with tarfile.open("a.tar.xz") as archive:
    archive.extractall("out")
packers = ((gzip, "a.gz"), (bz2, "a.bz2"), (lzma, "a.xz"))
for module, name in packers:
    with module.open(name, "wb") as stream:
        stream.write(b"text")
print(
    zipfile.ZipFile("a.zip").read("text.txt"),
    open("out/text.txt", "rb").read(),
    *(module.open(name).read() for module, name in packers),
)
