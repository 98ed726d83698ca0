# any tier: output_cap -> limit_exceeded output_bytes
# A program that is not Python writes to the inherited descriptor.
import subprocess

subprocess.run(["/bin/sh", "-c", "head -c 1000000000 /dev/zero"], timeout=20)
escaped("1 GB from a child")
