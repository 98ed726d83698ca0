# uses: TMPDIR, O_TMPFILE, directories that remove themselves
# out: b'data' True False True
import os
import tempfile

with tempfile.TemporaryFile() as stream:
    stream.write(b"data")
    stream.seek(0)
    data = stream.read()
with tempfile.TemporaryDirectory() as folder:
    inside = os.path.join(folder, "x")
    open(inside, "w").close()
    was = os.path.exists(inside)
named = tempfile.NamedTemporaryFile()
print(data, was, os.path.exists(folder), os.path.exists(named.name))
