# uses: waiting with a limit, SIGKILL to one's own child
# out: expired -9
import subprocess

child = subprocess.Popen(["sleep", "20"])
try:
    child.wait(timeout=0.05)
except subprocess.TimeoutExpired:
    child.kill()
    print("expired", child.wait())
