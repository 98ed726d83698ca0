# uses: pipes to and from a child, poll, wait
# out: HELLO  0 1048576
import subprocess

child = subprocess.Popen(["tr", "a-z", "A-Z"], stdin=-1, stdout=-1, stderr=-1, text=True)
out, err = child.communicate("hello")
big = subprocess.run(["cat"], input=b"x" * (1 << 20), capture_output=True).stdout
print(out, err, child.returncode, len(big))
