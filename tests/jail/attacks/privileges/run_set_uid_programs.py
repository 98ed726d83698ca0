# namespaces: no_new_privs -> completed, ENOENT/own id | landlock: landlock -> completed, EACCES
# Programs that run as root for any user that starts them.
# needs: /usr/bin/su
# bare: escapes
import subprocess
import time

LOOKS = 20


def effective(program):
    child = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(LOOKS):
            lines = open(f"/proc/{child.pid}/status").read().splitlines()
            ids = next(line for line in lines if line.startswith("Uid:")).split()[1:]
            if len(set(ids)) > 1 or ids[0] == "0":
                return ids
            time.sleep(0.005)  # execve(2) closes descriptors, which is waited for, before that.
    finally:
        child.kill()
        child.communicate()
    return HARMLESS


attempt(lambda: effective("/usr/bin/su"), lambda: effective("/usr/bin/su"), harmless="own id")
