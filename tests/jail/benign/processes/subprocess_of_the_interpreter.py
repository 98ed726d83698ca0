# uses: exec of the same interpreter, its standard library from disk
# out: 3 0
import subprocess
import sys

ended = subprocess.run(
    [sys.executable, "-c", "import json, sys; print(len(json.loads('[1,2,3]')))"],
    capture_output=True, text=True,
)
print(ended.stdout.strip(), ended.returncode)
