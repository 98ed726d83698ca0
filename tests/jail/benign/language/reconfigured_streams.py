# uses: sys.stdout.reconfigure, which programs call to be sure of UTF-8
# out: é 1
import sys

for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
print("é", len("é"))
