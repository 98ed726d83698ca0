# uses: carriage returns and flushes, writes to the raw descriptor in order
# out: 1/3\r2/3\r3/3
# out: raw
import os
import sys

for step in range(1, 4):
    print(f"{step}/3", end="\r" if step < 3 else "\n", flush=True)
os.write(1, b"raw\n")
sys.stdout.flush()
