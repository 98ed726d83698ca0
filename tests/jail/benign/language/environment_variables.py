# uses: os.environ changes that children see
# out: value child
import os
import subprocess

os.environ["DEMO"] = "value child"
print(subprocess.check_output("echo $DEMO", shell=True, text=True).strip())
