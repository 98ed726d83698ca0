# namespaces: no_new_privs -> completed, ENOENT/own id | landlock: landlock -> completed, EACCES
# Programs that run as root for whoever starts them.
# needs: /usr/bin/su
# bare: escapes
import subprocess


def effective(program):
    child = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        lines = open(f"/proc/{child.pid}/status").read().splitlines()
    finally:
        child.kill()
        child.communicate()
    ids = next(line for line in lines if line.startswith("Uid:")).split()[1:]
    return ids if len(set(ids)) > 1 or ids[0] == "0" else HARMLESS


attempt(lambda: effective("/usr/bin/su"), lambda: effective("/usr/bin/su"), harmless="own id")
